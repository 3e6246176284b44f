"""Death hints on one machine: a process that dies frees its file lock, and somebody notices."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Collection
from os.path import samestat
from pathlib import Path
from typing import IO

from outlast.core.limits import DEATH_POLL_US, SECOND
from outlast.ledger.protocol import Ledger

MARK = "OUTLAST_HOLDER"  # in the environment of every process that a worker starts


class DeathWatch:
    """Holds this supervisor's lock, and tries the locks of the others.

    A wrong hint would be harmless (fencing), but a lock can't be freed while its process lives.
    """

    def __init__(self, folder: Path, name: str, ledger: Ledger) -> None:
        self._folder = folder
        self._own = folder / f"{name}.lock"
        self._ledger = ledger
        self._file: IO[str] | None = None

    def hold(self) -> None:
        """Take the lock for as long as this process lives."""
        while self._file is None:
            file = self._own.open("w", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX)  # a watcher that looks has it for a moment at most
            # It takes a file that is not locked yet for a dead process's, and removes it.
            with contextlib.suppress(FileNotFoundError):
                if samestat(self._own.stat(), os.fstat(file.fileno())):
                    self._file = file
                    return
            file.close()

    def list_holders(self, holders: list[str]) -> None:
        """Note whose leases die with this process."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write("\n".join(holders))
            self._file.flush()

    def let_go(self) -> None:
        """Leave in good order."""
        if self._file is not None:
            self._own.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    async def run(self) -> None:
        """Look at the other locks several times a second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(DEATH_POLL_US / SECOND)

    async def look(self) -> list[str]:
        """Give up the leases of every process whose lock is free; return whose."""
        dead: list[str] = []
        for path in self._folder.glob("*.lock"):
            if path == self._own:
                continue
            with contextlib.suppress(FileNotFoundError), path.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                holders = file.read().split()
                kill_marked(holders)
                if holders:
                    await self._ledger.extend(holders, 0)
                path.unlink(missing_ok=True)
                dead += holders
        return dead


def kill_marked(holders: list[str]) -> None:
    """Kill what dead workers left running: every process that bears their mark."""
    signal_marked(holders, signal.SIGKILL)


def signal_marked(holders: Collection[str], number: signal.Signals) -> None:
    """Send a signal to workers, and to every process that bears their mark."""
    marks = [f"{MARK}={holder}".encode() for holder in holders]
    if not marks or not Path("/proc").is_dir():
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(mark in environment for mark in marks):
            with contextlib.suppress(OSError):
                os.kill(int(entry.name), number)
