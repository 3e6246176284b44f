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
from outlast.core.limits import SECOND
from outlast.core.retry import Course
from outlast.core.signals import HandBack, JobCancelled
from outlast.worker import wire
from outlast.worker.effects import Runnable, RunPolicy, TaskMissing

TERM_GRACE_S = 2.0  # from SIGTERM to SIGKILL


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
            effects.when_draining(lambda: wire.write(writer, op="drain"))
            relay = asyncio.ensure_future(self._relay(effects, reader, writer, process))
            try:
                return await asyncio.shield(relay)
            except asyncio.CancelledError:
                if relay.done():
                    raise
                wire.write(writer, op="stop")
                return await self._stopped(effects, relay, process)
        finally:
            # The group, not the process: what it started must not outlive it either.
            _signal_group(process, signal.SIGKILL)
            writer.close()
            await process.wait()

    async def _stopped(
        self, effects: Effects, relay: asyncio.Future[str | None], process: Process
    ) -> str | None:
        """Let the job end by itself, then make it: asked, SIGTERM, and at last SIGKILL."""
        for grace, number in (
            (self._task.policy.grace_us / SECOND, signal.SIGTERM),
            (TERM_GRACE_S, signal.SIGKILL),
        ):
            done, _ = await asyncio.wait([relay], timeout=grace)
            if done:
                break
            effects.killed()
            _signal_group(process, number)
        try:
            return await relay
        except ProcessDied as error:
            raise asyncio.CancelledError from error

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
                case "pulse":
                    effects.pulse()
                case "done":
                    result: str | None = message["result"]
                    return result
                case "failed":
                    raise Described(message["error"], wire.course_in(message["course"]))
                case "cancelled":
                    raise JobCancelled
                case "handed back":
                    raise HandBack
                case "missing":
                    raise TaskMissing
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
                case "save":
                    await effects.save(message["cursor"], advances=message["advances"])
                case "cursor":
                    value = await effects.cursor()
                case "artifacts":
                    value = await effects.artifacts()
                case _:
                    pass
        except LeaseLostError:
            wire.write(writer, op="answer", id=message["id"], lost=True, value=None)
            raise
        wire.write(writer, op="answer", id=message["id"], lost=False, value=value)
        await writer.drain()


def _signal_group(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
