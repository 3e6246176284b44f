"""A disk for SQLite files that remembers what it was told, fails on demand, and can lose power.

While a `Disk` is in use, every SQLite file that this process opens is on it::

    with Disk() as disk:
        ...  # open a ledger, use it; disk.mark(…) what was acknowledged
    for point in range(len(disk.tape) + 1):
        disk.image(point, folder, keep=nothing_unsynced)
        ...  # open the ledger in that folder: it must know all that disk.marks(point) tells

It needs neither root nor a special file system, so that anybody can use it on their own program.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Literal, Self

import apsw

Kind = Literal["write", "sync", "truncate", "delete", "mark"]
SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a disk was told to do, with what was written, or the size to cut to."""

    number: int
    kind: Kind
    path: str
    offset: int = 0
    data: bytes = b""


# Says which part of a write that was never synced a power cut leaves: its first so many bytes.
Keep = Callable[[Act], int]


def everything(act: Act) -> int:
    """Keep all: what a killed process leaves, because the system's cache outlives it."""
    return len(act.data)


def nothing_unsynced(_: Act) -> int:
    """Keep only what was synced: the harshest power cut."""
    return 0


def some_of_it(seed: int) -> Keep:
    """Keep some writes, lose others and tear a few between two sectors, as disks do."""
    dice = random.Random(seed)

    def keep(act: Act) -> int:
        sectors = -(-len(act.data) // SECTOR)
        return min(len(act.data), dice.choice((0, dice.randint(0, sectors), sectors)) * SECTOR)

    return keep


class Disk(apsw.VFS):
    """Takes part in every read and write of SQLite in this process, for as long as it is in use.

    `before` is called with each act before it is done. It may raise, and then the act fails:
    `full()` and `broken()` make what SQLite understands. It may also kill the process.
    """

    def __init__(self, before: Callable[[Act], None] | None = None) -> None:
        self.tape: list[Act] = []
        self.before = before
        self._base = ""
        self._lock = Lock()

    def __enter__(self) -> Self:
        # By its name: what has none is the default, which is this disk from here on.
        self._base = apsw.vfs_names()[0]
        super().__init__(f"outlast-disk-{id(self)}", self._base, makedefault=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file on this disk; what SQLite keeps for itself alone is not noted."""
        return _File(self, self._base, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802
        """Delete a file; a power cut brings it back until its folder is synced, too."""
        self.note("delete", filename)
        super().xDelete(filename, syncdir)
        if syncdir:
            self.note("sync", str(Path(filename).parent))

    def note(self, kind: Kind, path: str, offset: int = 0, data: bytes = b"") -> None:
        """Put an act on the tape, unless it is made to fail."""
        with self._lock:
            act = Act(len(self.tape), kind, path, offset, data)
            if self.before is not None:
                self.before(act)
            self.tape.append(act)

    def mark(self, text: str) -> None:
        """Note on the tape that something happened in the world: an answer was given, say."""
        self.note("mark", text)

    def marks(self, point: int) -> list[str]:
        """Return what was marked among the first acts of the tape."""
        return [act.path for act in self.tape[:point] if act.kind == "mark"]

    def image(self, point: int, folder: Path, *, keep: Keep = everything) -> None:
        """Write into a folder what is left of the files after the first acts of the tape."""
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in _contents(self.tape[:point], keep).items():
            (folder / Path(path).name).write_bytes(content)


def full() -> apsw.Error:
    """Make the error of a disk without room."""
    return apsw.FullError("no space left on this disk")


def broken() -> Exception:
    """Make the error of a disk that could not do it."""
    error = apsw.exceptionfor(apsw.SQLITE_IOERR_FSYNC)
    error.args = ("disk I/O error",)
    return error


class _File(apsw.VFSFile):
    def __init__(
        self, disk: Disk, base: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__(base, name, flags)
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._path is not None:
            self._disk.note("write", self._path, offset, bytes(data))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._path is not None:
            self._disk.note("sync", self._path)
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._path is not None:
            self._disk.note("truncate", self._path, newsize)
        super().xTruncate(newsize)


def _contents(tape: list[Act], keep: Keep) -> dict[str, bytes]:
    """Replay acts; what no sync of its file followed is kept as far as `keep` says."""
    synced = {act.path: act.number for act in tape if act.kind == "sync"}
    folder_synced = _last_sync_of_the_folder(tape)
    files: dict[str, bytearray] = {}
    for act in tape:
        if act.kind == "mark":
            continue
        if act.kind == "delete":
            if act.number < folder_synced or keep is everything:
                files.pop(act.path, None)
            continue
        durable = act.number < synced.get(act.path, -1)
        if act.kind == "sync":
            files.setdefault(act.path, bytearray())
        elif act.kind == "truncate":
            if (durable or keep is everything) and act.path in files:
                del files[act.path][act.offset :]
        elif (size := len(act.data) if durable else keep(act)) > 0:
            content = files.setdefault(act.path, bytearray())
            if len(content) < act.offset:
                content.extend(bytes(act.offset - len(content)))
            content[act.offset : act.offset + size] = act.data[:size]
    return {path: bytes(content) for path, content in files.items()}


def _last_sync_of_the_folder(tape: list[Act]) -> int:
    """Find the last act that made the folder's names durable.

    SQLite syncs the folder of a journal that it just made together with the journal.
    """
    last, named = -1, set[str]()
    for act in tape:
        if act.kind == "delete":
            named.discard(act.path)
        elif act.kind == "sync" and act.path not in named:
            named.add(act.path)
            if act.path.endswith(("-journal", "-wal")) or not Path(act.path).suffix:
                last = act.number
    return last
