"""A job in its own process, seen from inside: its effects go over the wire to its worker."""

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncGenerator, Callable
from typing import Any

from outlast.blobs.box import Blobs
from outlast.core.effects import Effects, Source
from outlast.core.errors import LeaseLostError
from outlast.core.failure import describe
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, Lease
from outlast.core.limits import PROGRESS_EVERY_US
from outlast.core.payload import Stored
from outlast.core.ports import Clock, Entropy
from outlast.core.signals import HandBack, JobCancelled
from outlast.worker import wire
from outlast.worker.attempt import after_error, outspoken, uninvited
from outlast.worker.effects import Runnable


class WiredEffects:
    """The same effects as in the worker, by messages."""

    def __init__(
        self, lease: Lease, writer: asyncio.StreamWriter, blobs: Blobs, clock: Clock
    ) -> None:
        self.lease = lease
        self._writer = writer
        self._blobs = blobs
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._stop = self._drain = False
        self._on_drain: list[Callable[[], None]] = []
        self._shields = 0
        self._told_us = clock.elapsed_us()
        self._work: asyncio.Future[Any] | None = None
        self.elapsed_us = clock.elapsed_us

    def note(self, event: str, data: str, *, progress: str | None = None) -> None:
        message = {"op": "note", "event": event, "data": data, "progress": progress}
        self._loop.call_soon_threadsafe(lambda: wire.write(self._writer, **message))

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        await self._ask("amend", event=event, data=data, artifact=artifact)

    async def save(self, cursor: str, *, advances: bool) -> None:
        await self._ask("save", cursor=cursor, advances=advances)

    async def cursor(self) -> str | None:
        found: str | None = await self._ask("cursor")
        return found

    async def events(self, type_: str) -> list[Event]:
        return wire.events_in(await self._ask("events", type=type_))

    async def artifacts(self) -> str:
        found: str = await self._ask("artifacts")
        return found

    async def store(self, data: Source, *, name: str, media_type: str) -> Stored:
        return await self._blobs.put(
            self.lease.id, data, name=name, media_type=media_type, each=self.pulse
        )

    def fetch(self, stored: Stored) -> AsyncGenerator[bytes, None]:
        return self._blobs.read(stored)

    async def shelve(self, text: str) -> str:
        return await self._blobs.shelve(self.lease.id, text)

    async def unshelve(self, text: str) -> str:
        return await self._blobs.fetch(text)

    def pulse(self) -> None:
        now = self.elapsed_us()
        if now - self._told_us >= PROGRESS_EVERY_US:
            self._told_us = now
            self._loop.call_soon_threadsafe(lambda: wire.write(self._writer, op="pulse"))

    def shield(self, *, on: bool) -> None:
        self._shields += 1 if on else -1
        self._cancel_if_asked()

    def _cancel_if_asked(self) -> None:
        if self._stop and not self._shields and self._work is not None:
            self._work.cancel()

    def stopping(self) -> bool:
        return self._stop

    def when_draining(self, call: Callable[[], None]) -> None:
        self._on_drain.append(call)

    def draining(self) -> bool:
        return self._drain

    def killed(self) -> None:
        """Nothing: who is killed can't say so."""

    async def _ask(self, op: str, **message: Any) -> Any:
        number = next(self._ids)
        self._asked[number] = self._loop.create_future()
        wire.write(self._writer, op=op, id=number, **message)
        return await self._asked[number]

    async def listen(self, reader: asyncio.StreamReader, work: asyncio.Task[Any]) -> None:
        """Hear answers and the wish to stop until the worker is gone."""
        self._work = work
        while (message := await wire.read(reader)) is not None:
            if message["op"] == "drain":
                self._drain = True
                for call in self._on_drain:
                    call()
            elif message["op"] == "stop":
                self._stop = True
                self._cancel_if_asked()
            elif message["lost"]:
                self._asked.pop(message["id"]).set_exception(LeaseLostError("the lease was lost"))
            else:
                self._asked.pop(message["id"]).set_result(message["value"])
        os._exit(1)  # no worker is left to answer to


class NoTask:
    """What runs instead of a task whose code can't be loaded here: says why."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def run(self, effects: Effects) -> str | None:
        raise self._error


async def serve(
    task_of: Callable[[str], Runnable | NoTask | None],
    blobs: Blobs,
    clock: Clock,
    entropy: Entropy,
) -> None:
    """Run the one job that the worker sends, in a folder of its own, and say how it ended."""
    sock = socket.socket(fileno=int(os.environ.pop(wire.FD)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=wire.LINE_BYTES_MAX)
    message = await wire.read(reader)
    if message is None:
        return
    effects = WiredEffects(wire.lease_in(message["lease"]), writer, blobs, clock)
    task = task_of(effects.lease.task)
    if task is None:  # the code on the disk is another than the worker's by now
        wire.write(writer, op="missing")
        await writer.drain()
        writer.close()
        return
    os.chdir(os.environ["TMPDIR"])  # only now: the code was loaded from where the worker is
    work = asyncio.create_task(_end_of(task, effects, clock, entropy))
    listening = asyncio.create_task(effects.listen(reader, work))
    wire.write(writer, **await work)
    await writer.drain()
    listening.cancel()
    writer.close()


async def _end_of(
    task: Runnable | NoTask, effects: WiredEffects, clock: Clock, entropy: Entropy
) -> dict[str, Any]:
    """Run the job and return the message that says how it ended.

    What user code raises stays in here: a SystemExit that reached the event loop would end it.
    """
    try:
        return {"op": "done", "result": await outspoken(task.run(effects))}
    except JobCancelled:
        return {"op": "cancelled"}
    except HandBack:
        return {"op": "handed back"}
    except BaseException as raised:  # noqa: BLE001 - whatever user code raises is told to the worker
        error = raised
    if isinstance(error, asyncio.CancelledError):
        if effects.stopping():
            return {"op": "cancelled"}
        error = uninvited()
    known = None if isinstance(task, NoTask) else task
    attempt, at = effects.lease.attempt, to_rfc3339(clock.now_us())
    next_ = after_error(error, known, clock, attempt=attempt, dice=entropy.fraction())
    told = describe(error, attempt=attempt, at=at, retryable=next_.again, hint=next_.hint)
    return {"op": "failed", "error": told, "course": wire.course_out(next_)}
