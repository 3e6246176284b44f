"""A broker's URL, read: its place, its path, and options that are known or refused."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from outlast.core.errors import InvalidInputError

_FLAGS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


class Address(NamedTuple):
    """A broker's URL in parts; `netloc` may have a password and is never shown."""

    scheme: str
    netloc: str
    path: str
    options: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        """Return an option as it was written."""
        return self.options.get(name, default)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return an option that is yes or no."""
        said = self.options.get(name)
        if said is None:
            return default
        if said.lower() not in _FLAGS:
            raise refused(f"{self.scheme}:// option {name}: expected yes or no")
        return _FLAGS[said.lower()]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return an option that is a whole number within bounds."""
        said = self.options.get(name)
        if said is None:
            return default
        if not (said.isdecimal() and said.isascii() and low <= int(said[:10]) <= high):
            raise refused(
                f"{self.scheme}:// option {name}: expected a whole number from {low} to {high}"
            )
        return int(said)


def refused(what: str, hint: str | None = None) -> InvalidInputError:
    """Say what is wrong with a URL, of which nothing is repeated that may be a secret."""
    return InvalidInputError(f"broker: {what}", hint=hint or "see docs/brokers.md")


def read_address(url: str, known: Iterable[str]) -> Address:
    """Take a URL apart; raise InvalidInputError for an option that is not known.

    >>> read_address("sqs://eu-central-1/jobs?fifo=1", {"fifo"})
    Address(scheme='sqs', netloc='eu-central-1', path='jobs', options={'fifo': '1'})
    """
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise refused(f"the {scheme}:// URL can't be read") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = sorted(known)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise refused(
            f"{scheme}:// has no option {unknown[0]!r:.40}: expected one of {', '.join(known)}"
        )
    return Address(scheme, parts.netloc, unquote(parts.path.strip("/")), options)
