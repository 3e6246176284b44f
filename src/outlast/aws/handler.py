"""What AWS Lambda calls: reads an SQS event, and says which of its messages must come again."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from outlast.aws.shift import Shift
from outlast.broker.message import unpacked
from outlast.broker.publisher import Publisher
from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.core.limits import MILLISECOND, SECOND
from outlast.sdk.app import Outlast
from outlast.sdk.capture import capture
from outlast.sdk.limits import declare

_LOG: Final = logging.getLogger("outlast.aws")
_RESERVE_PART: Final = 0.2
_RESERVE_S_MIN: Final = 1.0
_RESERVE_S_MAX: Final = 15.0
_FLUSH_S: Final = 1.0
_ANSWER_S: Final = 1.0  # in which a warm ledger answers a small write, or has no connection left

Answer = dict[str, list[dict[str, str]]]


class Context(Protocol):
    """The part of Lambda's context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return for how long the invocation may still run."""
        ...


class _Message(NamedTuple):
    id: str
    queue: str


class Handler:
    """An app's handler: opens the app once, and keeps it and its event loop between invocations.

    The sandbox may be frozen after any of them, so an invocation ends with nothing in hand.
    """

    def __init__(self, app: Outlast, reserve_s: float | None = None) -> None:
        self._app = app
        self._reserve_s = reserve_s
        self._runner = asyncio.Runner()
        self._is_declared = False
        self._closing: asyncio.Task[None] | None = None

    def __call__(self, event: Any, context: Context) -> Answer:
        """Work on one event; return SQS's partial batch response."""
        return self._runner.run(self._invoked(event, context))

    async def _invoked(self, event: Any, context: Context) -> Answer:
        loop = asyncio.get_running_loop()
        left_s = context.get_remaining_time_in_millis() * MILLISECOND / SECOND
        end = loop.time() + left_s
        messages = _read(event)
        if not messages:
            return _again([])
        reserve_s = self._reserve_s or _reserve_s(left_s)
        shift = Shift(self._app, tuple(dict.fromkeys(one.queue for one in messages)))
        try:
            async with asyncio.timeout_at(end - reserve_s):
                await self._begin(shift, len(messages))
            back = await shift.work(len(messages), until=end - reserve_s, end=end)
        except (UnavailableError, TimeoutError) as error:
            _LOG.warning("the ledger is away, %d tickets come again: %s", len(messages), error)
            return _again(messages)
        is_told = await self._flushed(end - loop.time())
        # With a broker, jobs that were given back have tickets of their own again.
        return _again(() if is_told else messages[:back])

    async def _begin(self, shift: Shift, limit: int) -> None:
        """Open the app and make the worker known.

        Connections may have died while the sandbox was frozen, without a word that says so: when
        they don't answer soon, new ones are made.
        """
        was_open = self._is_declared
        await self._open()
        try:
            async with asyncio.timeout(_ANSWER_S if was_open else None):
                await shift.begin(limit)
        except (UnavailableError, TimeoutError):
            if not was_open:
                raise
            self._closing = asyncio.create_task(self._app.close())
            await asyncio.sleep(0)  # from here on the app is not open; its goodbyes take their time
            await self._open()
            await shift.begin(limit)

    async def _open(self) -> None:
        await self._app.open()
        if not self._is_declared:
            capture()
            await declare(self._app)
            self._is_declared = True

    async def _flushed(self, left_s: float) -> bool:
        """Whether every ticket that became due here is with the broker of its queue."""
        publisher = getattr(self._app.ledger, "publisher", None)
        if not isinstance(publisher, Publisher):
            return False
        return await publisher.flush(max(0.0, min(_FLUSH_S, left_s - 0.1)))

    def close(self) -> None:
        """Close the app and the event loop, which a sandbox never does."""
        self._runner.run(self._app.close())
        self._runner.close()


def handler(app: Outlast, *, reserve_s: float | None = None) -> Handler:
    """Return the handler of an app, to be named in the function's settings.

    So many seconds before the invocation must end, jobs that go on are told to hand themselves
    back at the next step or item, and are stopped if they don't: by default a fifth of the time
    there is, from 1 to 15 seconds.
    """
    if reserve_s is not None and reserve_s <= 0:
        raise InvalidInputError(f"reserve_s: expected more than 0 seconds, got {reserve_s!r}")
    return Handler(app, reserve_s)


def _reserve_s(left_s: float) -> float:
    return min(_RESERVE_S_MAX, max(_RESERVE_S_MIN, _RESERVE_PART * left_s))


def _read(event: Any) -> list[_Message]:
    """Return the tickets of an event; what is none is dropped, for it would come for ever."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list):
        raise InvalidInputError(
            f"event: expected the Records of SQS, got {event!r:.80}",
            hint="the function's trigger must be an SQS queue",
        )
    found = []
    for record in records:
        body, name = record.get("body"), record.get("messageId")
        ticket = unpacked(body) if isinstance(body, str | bytes) else None
        if ticket is None:
            _LOG.warning("message %s is no ticket and is dropped", name)
        else:
            found.append(_Message(str(name), ticket.queue))
    return found


def _again(messages: Any) -> Answer:
    return {"batchItemFailures": [{"itemIdentifier": one.id} for one in messages]}
