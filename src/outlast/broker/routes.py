"""Which broker carries the tickets of a queue, if any does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from outlast.broker import shown

LEDGER: Final = "ledger"  # what stands where a broker could: workers ask the ledger itself


@dataclass(frozen=True, slots=True)
class Routes:
    """The URL of each queue's broker: its own one, or the one of all; `ledger` means none.

    >>> routes = Routes("redis://cache.test", {"mail": "sqs://eu-west-1", "odd": "ledger"})
    >>> routes.of("mail"), routes.of("other"), routes.of("odd")
    ('sqs://eu-west-1', 'redis://cache.test', None)
    """

    default: str = LEDGER
    own: Mapping[str, str] = field(default_factory=dict)  # by queue

    def of(self, queue: str) -> str | None:
        """Return the URL of a queue's broker; None: it has none."""
        url = self.own.get(queue, self.default)
        return None if url == LEDGER else url

    def public(self) -> "Routes":
        """Return those that anybody may see: a broker whose URL tells more is left out."""
        return Routes(_public(self.default), {name: _public(url) for name, url in self.own.items()})

    @property
    def urls(self) -> list[str]:
        """Every broker that is named, once."""
        return [url for url in dict.fromkeys([self.default, *self.own.values()]) if url != LEDGER]

    def grouped(self, queues: Iterable[str]) -> dict[str, list[str]]:
        """Return those of these queues that have a broker, by its URL."""
        found: dict[str, list[str]] = {}
        for queue in queues:
            url = self.of(queue)
            if url is not None:
                found.setdefault(url, []).append(queue)
        return found


def public_url(url: str) -> str:
    """Return what stands for a broker as it may be shown."""
    return url if url == LEDGER else shown(url)


def _public(url: str) -> str:
    return url if shown(url) == url else LEDGER
