"""What the kernel tells of a process tree in /proc: who is in it, and what it takes."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK_US: Final = 1_000_000 // os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024


class Tree:
    """The descendants of this process."""

    def __init__(self) -> None:
        self.tasks = 0  # processes with their threads, at the last look
        self.bytes = 0
        self.look_s = 0.0  # how much of a processor's time that took
        self.sees = Path(f"/proc/self/task/{os.getpid()}/children").exists()

    def descendants(self) -> list[int]:
        """Return whoever has this process among its ancestors; nobody where there is no /proc."""
        found: list[int] = []
        queue = _children(os.getpid())
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += _children(pid)
        return found

    def signal(self, members: list[int], number: signal.Signals) -> None:
        """Send a signal to each."""
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def look(self, members: list[int], limit: int | None) -> None:
        """Count tasks; and bytes, exactly when they may be over the limit."""
        begun = _own_cpu_s()
        self.tasks = self.bytes = 0
        for pid in members:
            with contextlib.suppress(OSError):
                self.tasks += len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - names suffice
        if limit is not None:
            self.bytes = _sum(_resident, members)
            if self.bytes > limit:
                # Pages that forks share were counted in each; to know better takes far longer.
                self.bytes = _sum(_share, members)
        self.look_s = _own_cpu_s() - begun

    def cpu_us(self, members: list[int]) -> int:
        """Return the CPU time of the living and of all that were reaped."""
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = round((reaped.ru_utime + reaped.ru_stime) * 1_000_000)
        for pid in members:
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                # Its own time in user and kernel mode, and that of the children it waited for.
                total += sum(map(int, stat[11:15])) * _TICK_US
        return total

    def tasks_of_user(self) -> int | None:
        """Return how many tasks this user has on the machine; None where that can't be seen."""
        if not _PROC.is_dir():
            return None
        count, me = 0, os.getuid()
        for entry in _PROC.iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == me:
                    count += len(list((entry / "task").iterdir()))
        return count


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names suffice
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                found += map(int, text.split())
    return found


def _sum(measure: Callable[[int], int], members: list[int]) -> int:
    total = 0
    for pid in members:
        with contextlib.suppress(OSError, ValueError):
            total += measure(pid)
    return total


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _share(pid: int) -> int:
    """Return a process's memory with its share of what others have too."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KIB
    return 0


def _own_cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime
