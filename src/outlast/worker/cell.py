"""A job in its own process, seen from inside: its effects go over the wire to its worker."""

import asyncio
import itertools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outlast.blobs.protocol import Blobs
from outlast.core.errors import LeaseLostError
from outlast.core.failure import describe
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, Lease
from outlast.core.ports import Clock, Entropy
from outlast.core.signals import JobCancelled
from outlast.worker import wire
from outlast.worker.attempt import Runnable, after_error


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
        self._stop = False
        self.elapsed_us = clock.elapsed_us

    def note(self, event: str, data: str, *, progress: str | None = None) -> None:
        message = {"op": "note", "event": event, "data": data, "progress": progress}
        self._loop.call_soon_threadsafe(lambda: wire.write(self._writer, **message))

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        await self._ask("amend", event=event, data=data, artifact=artifact)

    async def events(self, type_: str) -> list[Event]:
        return wire.events_in(await self._ask("events", type=type_))

    async def artifacts(self) -> str:
        found: str = await self._ask("artifacts")
        return found

    async def store(self, name: str, data: bytes | Path) -> tuple[str, int, str]:
        stored = await self._blobs.put(data)
        return stored.key, stored.size, stored.sha256

    async def fetch(self, blob: str) -> bytes:
        return await self._blobs.get(blob)

    def stopping(self) -> bool:
        return self._stop

    async def _ask(self, op: str, **message: Any) -> Any:
        number = next(self._ids)
        self._asked[number] = self._loop.create_future()
        wire.write(self._writer, op=op, id=number, **message)
        return await self._asked[number]

    async def listen(self, reader: asyncio.StreamReader, work: asyncio.Task[Any]) -> None:
        """Hear answers and the wish to stop until the worker is gone."""
        while (message := await wire.read(reader)) is not None:
            if message["op"] == "stop":
                self._stop = True
                work.cancel()
            elif message["lost"]:
                self._asked.pop(message["id"]).set_exception(LeaseLostError("the lease was lost"))
            else:
                self._asked.pop(message["id"]).set_result(message["value"])
        os._exit(1)  # no worker is left to answer to


async def serve(
    tasks: Mapping[str, Runnable], blobs: Blobs, clock: Clock, entropy: Entropy
) -> None:
    """Run the one job that the worker sends, and say how it ended."""
    sock = socket.socket(fileno=int(os.environ.pop(wire.FD)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=wire.LINE_BYTES_MAX)
    message = await wire.read(reader)
    if message is None:
        return
    effects = WiredEffects(wire.lease_in(message["lease"]), writer, blobs, clock)
    task = tasks[effects.lease.task]
    work = asyncio.ensure_future(task.run(effects))
    listening = asyncio.create_task(effects.listen(reader, work))
    try:
        wire.write(writer, op="done", result=await work)
    except (asyncio.CancelledError, JobCancelled):
        wire.write(writer, op="cancelled")
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is told to the worker
        next_ = after_error(error, task, clock)
        attempt, at = effects.lease.attempt, to_rfc3339(clock.now_us())
        described = describe(error, attempt=attempt, at=at, retryable=next_.again)
        told = wire.course_out(next_, attempt, entropy.fraction())
        wire.write(writer, op="failed", error=described, course=told)
    await writer.drain()
    listening.cancel()
    writer.close()
