"""The loop that publishes the history of all jobs: one process of the fleet at a time."""

import asyncio
import json
import logging
import socket
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from outlast.broker.topic import Message, StreamPlan, Topic
from outlast.core.errors import ConflictError, OutlastError, UnavailableError
from outlast.core.job import Doc, Event
from outlast.core.limits import DAY, SECOND
from outlast.core.ports import Clock
from outlast.ledger.protocol import Ledger
from outlast.upkeep.cloudevent import attempt_in, cloud_event

KIND: Final = "stream"
WANTED_US: Final = DAY  # how long after its last publisher a stream still keeps jobs from pruning
_LOG: Final = logging.getLogger("outlast.upkeep")
_TTL_US: Final = 10 * SECOND
_PAGE: Final = 500
_COALESCE_S: Final = 0.02
_REMEMBERED: Final = 20_000
_ASKED_FOR: Final = frozenset({"artifact", "log", "progress", "step"})
_ENDS: Final = frozenset({"cancelled", "cancelling", "completed"})  # which name no attempt


class DeposedError(ConflictError):
    """Another process publishes this stream by now."""


class Cursor(NamedTuple):
    """How far a stream is, and whose turn it is: one small record, so that none goes without."""

    id: str  # of the stream
    position: int  # of the last event that was acknowledged
    holder: str
    host: str
    missed: int | None = None  # since when events may be missing, which were pruned unpublished


def cursor_of(doc: Doc) -> Cursor:
    """Read the record of a stream."""
    said = json.loads(doc.doc)
    return Cursor(*(said.get(name) for name in Cursor._fields))


class Stream:
    """Publishes every event after the cursor, in order, and moves the cursor behind what is kept.

    The cursor's record is also the right to publish: each write of it compares its version, so
    whoever was deposed meanwhile is refused and stops. An event is published at least once; when
    two publish at once, because one of them stood still, both do so from the same cursor in the
    same order, and the first of each repeat is in order.
    """

    def __init__(
        self,
        ledger: Ledger,
        topic: Topic,
        plan: StreamPlan,
        name: str,
        *,
        clock: Clock,
        ttl_us: int = _TTL_US,
    ) -> None:
        self._ledger = ledger
        self._topic = topic
        self._plan = plan
        self._name = name  # of this process, new at each start
        self._clock = clock
        self._ttl_us = ttl_us
        self._cursor: Cursor | None = None
        self._version = 0
        self._held_since = 0  # by the clock that never leaps
        self._is_failing = False
        self._attempts: OrderedDict[str, int] = OrderedDict()

    async def run(self) -> None:
        """Publish while it is this process' turn; wait for it otherwise."""
        try:
            while True:
                await self._take_turn()
                # Whoever failed lets others have a turn: their way to Kafka may be open.
                await asyncio.sleep(self._ttl_us / SECOND / 3)
        finally:
            await self._step_down()
            await self._topic.close()

    async def _take_turn(self) -> None:
        """Publish for as long as it is our turn and nothing fails; an outage is told once."""
        try:
            while self._cursor is not None or await self.stand():
                await self.publish()
                if self._is_failing:
                    self._is_failing = False
                    _LOG.warning("events: %s is published again", self._plan.name)
        except DeposedError:
            self._cursor = None
        except Exception as error:  # noqa: BLE001 - told, and tried again: events must not stop
            if not self._is_failing:
                self._is_failing = True
                what = None if isinstance(error, OutlastError) else error  # then it is a fault
                told = "events: %s; what happens meanwhile is published later"
                _LOG.warning(told, error, exc_info=what)
            await self._step_down()

    # The turn ------------------------------------------------------------------------------------

    async def stand(self) -> bool:
        """Take the turn if nobody has it; return whether it is ours."""
        doc = next(iter(await self._ledger.docs(KIND, self._plan.name)), None)
        now = await self._ledger.now()
        host = socket.gethostname()
        if doc is None:
            position = 0
            if self._plan.begins_at == "now":
                position = await last_position(self._ledger)
            cursor, version = Cursor(self._name, position, self._name, host), 0
        else:
            before, version = cursor_of(doc), doc.version
            if (doc.lease_until or 0) > now and before.holder != self._name:
                return False
            cursor = before._replace(holder=self._name, host=host)
            if (doc.lease_until or 0) + WANTED_US < now:
                cursor = cursor._replace(missed=doc.lease_until)
                _LOG.warning("events: nobody published %s for a day or more", self._plan.name)
        self._version = version
        try:
            await self._write(cursor)
        except DeposedError:
            return False
        return True

    async def _write(self, cursor: Cursor, *, ttl_us: int | None = None) -> None:
        """Write the cursor, which renews the turn; raise DeposedError if it is not ours."""
        began = self._clock.elapsed_us()
        is_ours = await self._ledger.put(
            KIND,
            self._plan.name,
            json.dumps(cursor._asdict()),
            version=self._version,
            ttl_us=self._ttl_us if ttl_us is None else ttl_us,
        )
        if not is_ours:
            raise DeposedError(f"events: another process publishes {self._plan.name}")
        self._cursor, self._version, self._held_since = cursor, self._version + 1, began

    async def _step_down(self) -> None:
        """Let another process have the turn, if it is ours and the ledger is there."""
        cursor, self._cursor = self._cursor, None
        if cursor is None:
            return
        with suppress(DeposedError, UnavailableError):
            await self._write(cursor, ttl_us=0)
        self._cursor = None

    # Publishing ----------------------------------------------------------------------------------

    async def publish(self) -> int:
        """Publish the next events, or wait for some; return how many it read."""
        cursor = self._cursor
        if cursor is None:
            raise DeposedError(f"events: it is not our turn to publish {self._plan.name}")
        events = await self._ledger.history(None, after=cursor.position, limit=_PAGE)
        messages = await self._messages(cursor, events)
        if messages:
            await self._topic.open()
        if self._clock.elapsed_us() - self._held_since > self._ttl_us // 3:
            await self._write(cursor)
        if messages:
            # It ends while the turn lasts: 1/3 has passed at most, and to give up takes a second.
            await self._topic.publish(messages, self._ttl_us / SECOND / 3)
        if events:
            await self._write(cursor._replace(position=events[-1].position))
        else:
            await self._ledger.bell.wait(self._ttl_us / SECOND / 4)
            await asyncio.sleep(_COALESCE_S)
        return len(events)

    async def _messages(self, cursor: Cursor, events: Sequence[Event]) -> list[Message]:
        told = [event for event in events if self._is_told(event)]
        ids = sorted({event.job_id for event in told})
        jobs = dict(zip(ids, await self._ledger.get(ids), strict=True)) if ids else {}
        source = self._plan.source or f"urn:uuid:{cursor.id}"
        return [
            Message(
                event.job_id.encode(),
                cloud_event(
                    event,
                    jobs[event.job_id],
                    source=source,
                    attempt=await self._attempt_at(event),
                    whole=event.type in _ASKED_FOR,
                ),
            )
            for event in told
        ]

    def _is_told(self, event: Event) -> bool:
        return event.type not in _ASKED_FOR or event.type in self._plan.also

    async def _attempt_at(self, event: Event) -> int | None:
        """Return the attempt that an event belongs to; an end doesn't name it, its start does."""
        attempt = attempt_in(event)
        if event.type == "started" and attempt is not None:
            self._attempts[event.job_id] = attempt
            if len(self._attempts) > _REMEMBERED:
                self._attempts.popitem(last=False)
        if event.type not in _ENDS:
            return attempt
        known = self._attempts.get(event.job_id)
        if known is not None:
            return known
        starts = await self._ledger.history(event.job_id, type="started")
        before = [start for start in starts if start.seq < event.seq]
        return attempt_in(before[-1]) if before else 0


async def published_to(ledger: Ledger) -> int | None:
    """Return the position up to which every stream has published; None when there is none.

    One that nobody has published to for a day is not waited for.
    """
    now = await ledger.now()
    wanted = [doc for doc in await ledger.docs(KIND) if (doc.lease_until or 0) + WANTED_US > now]
    return min((cursor_of(doc).position for doc in wanted), default=None)


async def last_position(ledger: Ledger) -> int:
    """Return the position of the newest event that can be read by now; 0 when there is none."""

    async def is_over(position: int) -> bool:
        return not await ledger.history(None, after=position, limit=1)

    if await is_over(0):
        return 0
    low, high = 0, 1
    while not await is_over(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if await is_over(middle) else (middle, high)
    return high
