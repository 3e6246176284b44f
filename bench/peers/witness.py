"""What a job does: it says in a file that it ran, in the same way under every queue.

Imported by the code of every worker, so it needs the standard library only. A line to an
`O_APPEND` file costs about a microsecond and survives the kill of who wrote it.
"""

import asyncio
import os
import struct
import time
from pathlib import Path

_STARTED = struct.Struct("<qqq")
_open: dict[str, int] = {}


def _append(name: str, data: bytes) -> None:
    if name not in _open:
        path = Path(os.environ["BENCH_FOLDER"]) / name
        _open[name] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_open[name], data)


def done(n: int) -> None:
    """Say that a no-op ran: one byte."""
    _append("done", b".")


def started(n: int) -> None:
    """Say which job starts, when, and in which process."""
    _append("started", _STARTED.pack(n, time.time_ns(), os.getpid()))


def hang(n: int) -> None:
    """Say so, and then take longer than any measurement waits."""
    started(n)
    time.sleep(600)


async def hang_async(n: int) -> None:
    """Do as `hang` does, on an event loop."""
    started(n)
    await asyncio.sleep(600)


def count_done(folder: Path) -> int:
    """Return how many no-ops have run."""
    path = folder / "done"
    return path.stat().st_size if path.exists() else 0


def read_started(folder: Path) -> list[tuple[int, int, int]]:
    """Return number, nanosecond and process of each start."""
    path = folder / "started"
    data = path.read_bytes() if path.exists() else b""
    return list(_STARTED.iter_unpack(data[: len(data) // _STARTED.size * _STARTED.size]))
