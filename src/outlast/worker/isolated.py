"""A job in its own process, seen from the worker, which relays its writes and can kill it."""

import asyncio
import contextlib
import os
import signal
import socket
from asyncio.subprocess import Process
from typing import Any

from outlast.core.effects import Effects
from outlast.core.errors import LeaseLostError
from outlast.core.retry import Course
from outlast.worker import wire
from outlast.worker.attempt import Runnable, RunPolicy

STOP_GRACE_S = 2.0  # from being asked to stop to being killed


class ProcessDied(Exception):
    """The job's process ended without an answer."""


class Described(Exception):
    """An error that was described where it was raised."""

    def __init__(self, described: dict[str, object], course: Course) -> None:
        super().__init__(str(described.get("message")))
        self.described = described
        self.course = course


class Isolated:
    """Runs a task's jobs each in a fresh process and process group."""

    def __init__(self, task: Runnable, command: list[str]) -> None:
        self._task = task
        self._command = command

    @property
    def policy(self) -> RunPolicy:
        return self._task.policy

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt; whatever happens, nothing of the process group is left."""
        ours, theirs = socket.socketpair()
        environment = {
            **os.environ,
            wire.FD: str(theirs.fileno()),
            "OUTLAST_PARENT": str(os.getpid()),
        }
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=wire.LINE_BYTES_MAX)
        try:
            wire.write(writer, op="run", lease=wire.lease_out(effects.lease))
            return await self._relay(effects, reader, writer, process)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                wire.write(writer, op="stop")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_S):
                    await process.wait()
            raise
        finally:
            # The group, not the process: what it started must not outlive it either.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            writer.close()
            await process.wait()

    async def _relay(
        self,
        effects: Effects,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        process: Process,
    ) -> str | None:
        while (message := await wire.read(reader)) is not None:
            match message["op"]:
                case "note":
                    effects.note(message["event"], message["data"], progress=message["progress"])
                case "done":
                    result: str | None = message["result"]
                    return result
                case "failed":
                    raise Described(message["error"], wire.course_in(message["course"]))
                case "cancelled":
                    raise asyncio.CancelledError
                case _:
                    await self._answer(effects, writer, message)
        code = await process.wait()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ProcessDied(f"the job's process ended by {cause} without an answer")

    async def _answer(
        self, effects: Effects, writer: asyncio.StreamWriter, message: dict[str, Any]
    ) -> None:
        value: Any = None
        try:
            match message["op"]:
                case "amend":
                    await effects.amend(
                        message["event"], message["data"], artifact=message["artifact"]
                    )
                case "events":
                    value = wire.events_out(await effects.events(message["type"]))
                case "artifacts":
                    value = await effects.artifacts()
                case _:
                    pass
        except LeaseLostError:
            wire.write(writer, op="answer", id=message["id"], lost=True, value=None)
            raise
        wire.write(writer, op="answer", id=message["id"], lost=False, value=value)
        await writer.drain()
