"""What is said of a queue at run time: kept in the ledger, over what the settings say."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from outlast.core.errors import ConflictError, InvalidInputError
from outlast.core.limits import SECOND
from outlast.core.ports import Clock
from outlast.core.queue import QueueRules, check_queue_name
from outlast.ledger.protocol import Ledger

if TYPE_CHECKING:
    from outlast.sdk.app import Outlast

_TRIES: Final = 5
_AGE_US: Final = SECOND  # how long what was said before may still count


class Rulebook:
    """The rules of every queue: what was said at run time, over what the settings say."""

    def __init__(self, configured: Callable[[str], QueueRules], clock: Clock) -> None:
        self._configured = configured
        self._clock = clock
        self._said: dict[str, dict[str, Any]] = {}
        self._rules: dict[str, QueueRules] = {}
        self._read_at: int | None = None

    def of(self, queue: str) -> QueueRules:
        """Return a queue's rules as they were last read."""
        if queue not in self._rules:
            self._rules[queue] = self._configured(queue).changed(self._said.get(queue, {}))
        return self._rules[queue]

    @property
    def named(self) -> set[str]:
        """The queues of which something was said at run time."""
        return set(self._said)

    async def fresh(self, ledger: Ledger) -> None:
        """Read what was said, unless that was done a short while ago."""
        now = self._clock.elapsed_us()
        if self._read_at is None or now - self._read_at > _AGE_US:
            self._read_at = now  # one caller reads for all
            await self.read(ledger)

    async def read(self, ledger: Ledger) -> None:
        """Read what was said now."""
        self._said, self._rules = await said_of_queues(ledger), {}


async def said_of_queues(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return what was said of each queue at run time."""
    return {doc.key: from_json(doc.doc) for doc in await ledger.docs("queue")}


async def change_queue(app: "Outlast", name: str, changes: Mapping[str, Any]) -> None:
    """Change some of a queue's rules for every process from now on; None takes a limit away.

    Raises InvalidInputError that lists all that is wrong, ConflictError when others keep changing
    the same queue.
    """
    ledger = app.ledger
    await app.rules.read(ledger)
    wrong: list[dict[str, str]] = []
    bad = check_queue_name(name)
    if bad is not None:
        wrong.append({"path": "queue", "message": bad})
    if "broker" in changes:
        message = "can't change while workers run: say it in the settings, and start again"
        wrong.append({"path": "broker", "message": message})
    try:
        app.rules.of(name).told_to(changes)
    except InvalidInputError as error:
        parts: Any = error.facts["errors"]
        wrong += parts
    if wrong:
        text = "; ".join(f"{part['path']}: {part['message']}" for part in wrong[:5])
        raise InvalidInputError(f"invalid request: {text}", errors=wrong)
    for _ in range(_TRIES):
        found = await ledger.docs("queue", name)
        version, doc = (found[0].version, from_json(found[0].doc)) if found else (0, {})
        text = to_json({**doc, **changes}).decode()
        if await ledger.put("queue", name, text, version=version):
            return
    raise ConflictError(f"queue {name} keeps changing", hint="try again")
