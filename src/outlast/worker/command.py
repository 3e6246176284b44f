"""A job that is a program: the worker starts it, hears it, and stops it."""

import asyncio
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from outlast.core.confinement import Confinement
from outlast.core.effects import Effects
from outlast.core.limits import SECOND
from outlast.worker.cage import Cage, Cages, Report, death_of
from outlast.worker.effects import Runnable, RunPolicy

_CHUNK: Final = 64 * 1024
_LINE_MAX: Final = 64 * 1024  # what is longer is cut into several
_TAIL_S: Final = 10.0  # to read what a program that has ended had still to say


class Show(Protocol):
    """One attempt at a program, as its task knows it."""

    @property
    def argv(self) -> list[str]:
        """What to start, the job's arguments filled in."""
        ...

    def hear(self, stream: str, line: str) -> None:
        """Take a line that the program printed."""
        ...

    async def finish(self, exit_code: int, folder: Path) -> str | None:
        """Return the job's result as JSON, or raise because of the exit code."""
        ...


@runtime_checkable
class Program(Runnable, Protocol):
    """A task whose jobs are programs."""

    async def begin(self, effects: Effects) -> Show:
        """Begin an attempt; raise InvalidInputError for arguments that must not be given to it."""
        ...


class Command:
    """Runs a program's jobs, each in a cage of its own, without a shell and without Python."""

    def __init__(self, task: Program, policy: RunPolicy, cages: Cages) -> None:
        self.policy = policy
        self._task = task
        self._cages = cages

    @property
    def _walls(self) -> Confinement:
        return self.policy.confinement

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt; whatever happens, nothing of its process tree or its folder is left."""
        show = await self._task.begin(effects)
        cage = await self._cages.open(self._walls, show.argv, pipes=True)
        hearing = [
            asyncio.ensure_future(_hear(show, effects, name, stream))
            for name, stream in (("stdout", cage.stdout), ("stderr", cage.stderr))
            if stream is not None
        ]
        try:
            report = await self._ended(effects, cage)
            await asyncio.wait(hearing, timeout=_TAIL_S)
            # Where the kernel killed a part of it, an exit code says less than that.
            starved = report.oom_kills and report.exit_code != 0
            if report.refused or report.why or starved or report.exit_code < 0:
                raise death_of(report, self._walls)
            return await show.finish(report.exit_code, cage.folder)
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            await cage.release()

    async def _ended(self, effects: Effects, cage: Cage) -> Report:
        """Wait for the end; when the job must stop, send SIGTERM, and SIGKILL after the grace."""
        try:
            return await asyncio.shield(cage.report)
        except asyncio.CancelledError:
            cage.terminate()
            grace = self.policy.grace_us / SECOND
            done, _ = await asyncio.wait([cage.report], timeout=grace)
            if not done:
                effects.killed()
                cage.kill()
                await asyncio.wait([cage.report])
            raise


async def _hear(show: Show, effects: Effects, name: str, stream: asyncio.StreamReader) -> None:
    """Hand on lines as they come; programs end those that they overwrite with a return."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        effects.pulse()
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if len(rest) > _LINE_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if line:
                show.hear(name, line.decode("utf-8", "replace"))
        await asyncio.sleep(0)  # a program that prints without end must not hold the loop
    if rest:
        show.hear(name, rest.decode("utf-8", "replace"))
