"""A job in its own process, seen from the worker, which relays its writes and can kill it."""

import asyncio
import os
import socket
from typing import Any

from outlast.core.confinement import Confinement
from outlast.core.effects import Effects
from outlast.core.errors import CrashedError, LeaseLostError
from outlast.core.limits import SECOND
from outlast.core.retry import Course
from outlast.core.signals import HandBack, JobCancelled
from outlast.worker import wire
from outlast.worker.cage import Cage, Cages, CpuTimeError, Report, death_of
from outlast.worker.effects import RunPolicy, TaskMissing

TERM_GRACE_S = 2.0  # from SIGTERM to SIGKILL
LAST_WORDS_S = 1.0  # to read what a process that has ended had still to say


class Described(Exception):
    """An error that was described and judged where it was raised."""

    def __init__(self, described: dict[str, object], course: Course) -> None:
        super().__init__(str(described.get("message")))
        self.described = described
        self.course = course

    def explain(self, report: Report, walls: Confinement) -> None:
        """Say what of it comes from the cage, and what to do about that."""
        name = str(self.described.get("message")).strip("'")
        if self.described.get("type") == "KeyError" and name in os.environ:
            hint = (
                f"the worker's environment has {name}, the job's has not: "
                f'let it through with env=("{name}",)'
            )
        elif report.oom_kills:
            hint = "the kernel killed a process of the job: raise the memory that it may have"
        elif report.refused_forks:
            hint = f"the job had {walls.processes} processes and threads: raise max_processes"
        else:
            return
        self.described["hint"] = hint


class Isolated:
    """Runs a task's jobs each in a fresh process, in a cage of its own."""

    def __init__(self, policy: RunPolicy, command: list[str], cages: Cages) -> None:
        self.policy = policy
        self._command = command
        self._cages = cages

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt; whatever happens, nothing of its process tree is left."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=wire.LINE_BYTES_MAX)
            try:
                cage = await self._cages.open(
                    self.policy.confinement,
                    self._command,
                    python=True,
                    fd=(wire.FD, theirs.fileno()),
                )
            except BaseException:
                writer.close()
                raise
        try:
            wire.write(writer, op="run", lease=wire.lease_out(effects.lease))
            effects.when_draining(lambda: wire.write(writer, op="drain"))
            relay = asyncio.ensure_future(self._relay(effects, reader, writer, cage))
            # With the tree ends its voice, whoever else may hold the other end open.
            later = asyncio.get_running_loop().call_later
            cage.report.add_done_callback(lambda _: later(LAST_WORDS_S, reader.feed_eof))
            try:
                return await asyncio.shield(relay)
            except asyncio.CancelledError:
                if relay.done():
                    raise
                wire.write(writer, op="stop")
                return await self._stopped(effects, relay, cage)
        except Described as error:
            error.explain(await cage.soon(), self.policy.confinement)
            raise
        finally:
            writer.close()
            await cage.release()

    async def _stopped(
        self, effects: Effects, relay: asyncio.Future[str | None], cage: Cage
    ) -> str | None:
        """Let the job end by itself, then make it: asked, SIGTERM, and at last SIGKILL."""
        for grace, force in (
            (self.policy.grace_us / SECOND, cage.terminate),
            (TERM_GRACE_S, cage.kill),
        ):
            done, _ = await asyncio.wait([relay], timeout=grace)
            if done:
                break
            effects.killed()
            force()
        try:
            return await relay
        except (CrashedError, CpuTimeError) as error:
            raise asyncio.CancelledError from error

    async def _relay(
        self,
        effects: Effects,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cage: Cage,
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
        raise death_of(await cage.soon(), self.policy.confinement)

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
