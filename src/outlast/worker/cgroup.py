"""A control group of the kernel's around one job, where this process may make one."""

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Final, Literal, NamedTuple

_OFF: Final = "off"
_AUTO: Final = "auto"
_TRIES: Final = 200
_AGAIN_S: Final = 0.01
Version = Literal[1, 2]


class Group(NamedTuple):  # a dataclass would cost each warden 8 ms, for the module's import
    """The group's folders: with version 1 each controller has its own, with version 2 they share.

    It counts the whole tree, whatever sessions and parents its processes have.
    """

    version: Version
    memory: Path | None  # None: not limited
    pids: Path

    @property
    def folders(self) -> list[Path]:
        """Every folder once."""
        return list(dict.fromkeys(f for f in (self.memory, self.pids) if f is not None))

    def limit(self, memory: int | None, processes: int) -> None:
        """Set the walls; the kernel keeps them exactly."""
        (self.pids / "pids.max").write_text(str(processes))
        if self.memory is None or memory is None:
            return
        if self.version == 1:
            (self.memory / "memory.limit_in_bytes").write_text(str(memory))
            swap = self.memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(memory))
        else:
            (self.memory / "memory.max").write_text(str(memory))
            if (self.memory / "memory.swap.max").exists():
                (self.memory / "memory.swap.max").write_text("0")
            # A job of which half was killed would go on with what is left.
            (self.memory / "memory.oom.group").write_text("1")

    def join(self) -> None:
        """Put the calling process in; its children will be in too."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def members(self) -> list[int]:
        """Return the processes inside."""
        return _processes(self.pids)

    def stop_forks(self) -> None:
        """Let no member make another process, so that killing them comes to an end."""
        (self.pids / "pids.max").write_text("0")

    def oom_kills(self) -> int:
        """Return how many members the kernel has killed for want of memory."""
        if self.memory is None:
            return 0
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return _entry(self.memory / name, "oom_kill")

    def refused_forks(self) -> int:
        """Return how often a member could not make another process."""
        return _entry(self.pids / "pids.events", "max")

    def peak(self) -> int | None:
        """Return the most memory that the members had at once, if the kernel says so."""
        if self.memory is None:
            return None
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.memory / name).read_text())
        except OSError:
            return None  # memory.peak came with Linux 5.19


def make(name: str, memory: int | None, processes: int, where: str = _AUTO) -> Group | None:
    """Make a limited group, or return None where this process may not.

    `where` is `auto`, `off`, or the folder of a cgroup v2 that was delegated to us.
    """
    if where == _OFF:
        return None
    group = _place(name, memory is not None, where)
    if group is None:
        return None
    try:
        for folder in group.folders:
            folder.mkdir()
        group.limit(memory, processes)
    except OSError:
        remove(group.folders)
        return None
    return group


def kill(folders: list[Path]) -> None:
    """Kill whoever is left in a group that nobody keeps any more."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder / "pids.max").write_text("0")
        with contextlib.suppress(OSError):
            for pid in _processes(folder):
                os.kill(pid, signal.SIGKILL)


def remove(folders: list[Path]) -> bool:
    """Remove a group whose members are dead; False when one of them has not left it in time."""
    for folder in folders:
        for _ in range(_TRIES):
            try:
                folder.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                select.select([], [], [], _AGAIN_S)
            else:
                break
        else:
            return False
    return True


def _place(name: str, memory: bool, where: str) -> Group | None:  # noqa: FBT001 - ours alone
    needs = {"pids", "memory"} if memory else {"pids"}
    own = _own()
    if where != _AUTO:
        bases = [Path(where)]
    elif (found := own.get("")) is None:
        bases = []
    else:
        # A parent only if systemd gave it to us: elsewhere the job would slip out of the limits
        # that whoever runs the worker has set around it.
        bases = [found, *([found.parent] if _is_delegated(found.parent) else [])]
    for base in bases:
        if _enable(base, needs):
            return Group(2, base / name if memory else None, base / name)
    if where == _AUTO and needs <= own.keys():
        return Group(1, own["memory"] / name if memory else None, own["pids"] / name)
    return None


def _own() -> dict[str, Path]:
    """Return this process's folder by controller; the unified hierarchy's is called ""."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        paths = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    memberships: dict[str, str] = {}
    for line in paths:
        _, controllers_of, path = line.split(":", 2)
        memberships |= dict.fromkeys(controllers_of.split(","), path)
    found: dict[str, Path] = {}
    for fields in mounts:
        root, point = fields[3:5]
        kind, _, options = fields[fields.index("-") + 1 :]
        controllers = {"cgroup2": [""], "cgroup": options.split(",")}.get(kind, [])
        for name in memberships.keys() & set(controllers):
            inside = memberships[name]
            if root != "/":
                inside = inside.removeprefix(root)
            found[name] = Path(point) / inside.lstrip("/")
    return found


def _is_delegated(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "user.delegate") == b"1"
    except OSError:
        return False


def _enable(base: Path, needs: set[str]) -> bool:
    """Have the controllers on for the children of a cgroup v2; False where that can't be."""
    try:
        if not needs <= set((base / "cgroup.controllers").read_text().split()):
            return False
        control = base / "cgroup.subtree_control"
        if not needs <= set(control.read_text().split()):
            control.write_text(" ".join(f"+{name}" for name in sorted(needs)))
        return True
    except OSError:
        return False  # not ours, or it has processes of its own


def _processes(folder: Path) -> list[int]:
    # Who is not visible from here is listed as 0, which to kill(2) is the caller's own group.
    pids = map(int, (folder / "cgroup.procs").read_text().split())
    return [pid for pid in pids if pid != 0]


def _entry(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
