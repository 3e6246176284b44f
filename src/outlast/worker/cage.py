"""Cages: where the processes of one attempt live, as the worker sees it; a warden keeps each."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from outlast.core.confinement import Confinement
from outlast.core.errors import (
    CrashedError,
    InvalidInputError,
    OutlastError,
    OutOfMemoryError,
    UnavailableError,
)
from outlast.core.limits import SECOND
from outlast.system import new_id
from outlast.worker import cgroup
from outlast.worker.warden import remove_folder

_ROOT: Final = str(Path(__file__).parents[2])
# Without site packages and the user's variables it starts in a third of the time.
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from outlast.worker.warden import main; main()"
)
_PATIENCE_S: Final = 2.0  # from the end of a job's voice to the end of its process


class CpuTimeError(TimeoutError):
    """The job used up its CPU time."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the first process of a cage ended, from its warden."""

    exit_code: int = 1  # negative: the signal
    why: str | None = None  # which wall it was killed for, where the kernel does not keep it
    oom_kills: int = 0
    refused_forks: int = 0
    peak: int | None = None  # bytes
    refused: str | None = None  # it did not even start
    missing: bool = False  # for want of the program


class Cage:
    """One attempt's processes; `report` is done when none of them is left."""

    def __init__(
        self,
        folder: Path,
        warden: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.folder = folder
        self.stdout, self.stderr = warden.stdout, warden.stderr
        self._warden = warden
        self._writer = writer
        self.report: asyncio.Future[Report] = asyncio.ensure_future(self._read(reader))
        self._released: asyncio.Future[None] | None = None

    def terminate(self) -> None:
        """Send SIGTERM to every process."""
        if not self._writer.is_closing():
            self._writer.write(b"T")

    def kill(self) -> None:
        """Kill every process; the report tells when that is done."""
        if not self._writer.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()

    async def soon(self) -> Report:
        """Return the report of a job that has fallen silent, which must end now."""
        await asyncio.wait([self.report], timeout=_PATIENCE_S)
        self.kill()
        return await asyncio.shield(self.report)

    async def release(self) -> None:
        """Kill what is left, and remove the folder; goes on even when it is not waited for."""
        self.kill()
        if self._released is None:
            self._released = asyncio.ensure_future(self._release())
        await asyncio.shield(self._released)

    async def _release(self) -> None:
        await self._warden.wait()
        await self.report
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Report:
        line = await reader.readline()
        if line.endswith(b"\n"):
            return Report(**json.loads(line))
        # The warden itself was killed, and the job's first process with it.
        await self._warden.wait()
        await asyncio.to_thread(sweep, self.folder.parent)
        return Report(exit_code=-signal.SIGKILL)


class Cages:
    """Makes the cages of one worker.

    `marks` are variables that every process bears, so that what a dead worker left is found;
    `control_group` is `auto`, `off`, or the folder of a delegated cgroup v2.
    """

    def __init__(self, marks: Mapping[str, str], control_group: str = "auto") -> None:
        self._marks = marks
        self._control_group = control_group
        self._place = _place()

    async def open(
        self,
        walls: Confinement,
        argv: Sequence[str],
        *,
        python: bool = False,
        fd: tuple[str, int] | None = None,
        pipes: bool = False,
    ) -> Cage:
        """Start a program in a new cage.

        One of ours starts where the worker is and gets `fd` under a variable's name; another one
        starts in its own folder. With `pipes` what it prints comes to the cage's two streams.
        """
        folder = self._place / new_id()
        spec: dict[str, Any] = {
            "argv": list(argv),
            "folder": str(folder),
            "cwd": str(Path.cwd()) if python else None,
            "env": walls.environment(os.environ, python=python) | dict(self._marks),
            "fds": [fd[1]] if fd else [],
            "walls": {
                "memory": walls.memory,
                "cpu_us": walls.cpu_us,
                "processes": walls.processes,
                "files": walls.files,
            },
            "cgroup": self._control_group,
            "silent": pipes,
        }
        if fd is not None:
            spec["env"][fd[0]] = str(fd[1])
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                warden = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM),
                    *(_ROOT, str(theirs.fileno())),
                    env={},
                    pass_fds=[theirs.fileno(), *spec["fds"]],
                    start_new_session=True,
                    stdin=DEVNULL,
                    stdout=PIPE if pipes else None,
                    stderr=PIPE if pipes else None,
                )
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        writer.write(json.dumps(spec).encode() + b"\n")
        return Cage(folder, warden, reader, writer)


def death_of(report: Report, walls: Confinement) -> OutlastError | CpuTimeError:
    """Say as an error how a job's process died that should have lived, or answered."""
    facts: dict[str, Any] = {"peak_bytes": report.peak} if report.peak else {}
    if report.missing:
        return InvalidInputError(
            f"the job's program can't be started: {report.refused}",
            hint="install it on every worker, or give its path",
        )
    if report.refused is not None:
        return UnavailableError(f"the job's process could not be started: {report.refused}")
    if report.why == "cpu" and walls.cpu_us is not None:
        return CpuTimeError(f"the job used more than {walls.cpu_us / SECOND:g} s of CPU time")
    if walls.memory is not None and (report.why == "memory" or report.oom_kills):
        took = f", and took {_mib(report.peak)}" if report.peak else ""
        return OutOfMemoryError(
            f"the job ran out of memory: it may have {_mib(walls.memory)}{took}",
            hint="raise the memory of its task or its queue, or have it hold less at once",
            limit_bytes=walls.memory,
            **facts,
        )
    if report.why == "processes":
        return CrashedError(
            f"the job had more than {walls.processes} processes and threads",
            hint="raise the max_processes of its task or its queue, if it needs so many",
            **facts,
        )
    if report.exit_code >= 0:
        cause = f"exit code {report.exit_code}"
        facts["exit_code"] = report.exit_code
    else:
        name = signal.Signals(-report.exit_code).name
        cause = f"signal {name}"
        facts["signal"] = name
    return CrashedError(f"the job's process ended by {cause} without an answer", **facts)


def sweep(place: Path | None = None) -> None:
    """Remove what is left of cages whose wardens were killed."""
    place = place or _place()
    for path in place.glob("*.lock"):
        with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            groups = [Path(name) for name in lock.read().splitlines()]
            cgroup.kill(groups)
            remove_folder(path.with_suffix(""))
            if cgroup.remove(groups):
                path.unlink(missing_ok=True)


def _place() -> Path:
    """Return the folder of all cages of this user, which nobody else can write to."""
    place = Path(tempfile.gettempdir()) / f"outlast-{os.getuid()}-jobs"
    place.mkdir(mode=0o700, exist_ok=True)
    seen = place.lstat()
    if not place.is_dir() or place.is_symlink() or seen.st_uid != os.getuid():
        raise InvalidInputError(
            f"{place}: expected a folder of the worker's own user", hint="set TMPDIR to another"
        )
    return place


def _mib(size: int | None) -> str:
    return f"{(size or 0) / (1 << 20):.0f} MB"
