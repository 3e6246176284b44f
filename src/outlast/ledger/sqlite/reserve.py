"""Room kept free for the day the disk is full: what runs can end then, and nothing new comes in."""

import os
from errno import EDQUOT, ENOSPC
from pathlib import Path
from threading import Lock
from typing import Final

from outlast.core.errors import StorageFullError

RESERVE_BYTES: Final = 4 * 1024**2  # a log of this size is checkpointed, and its room used again


class Reserve:
    """A file beside the ledger that holds nothing but room.

    Whatever ends, renews or prunes a job may spend it. New jobs are refused from then on, until
    there is room enough to make it again; the file is empty so long.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = Path(f"{path}-reserve")
        self._lock = Lock()

    def guard(self) -> None:
        """Raise StorageFullError unless the reserve is there, or can be made."""
        try:
            if os.stat(self._file).st_size >= RESERVE_BYTES:  # noqa: PTH116 - at every submit
                return
        except OSError:
            pass  # it is not there
        with self._lock:
            self._make()

    def spend(self) -> bool:
        """Give the room away; return whether there was any."""
        try:
            had_room = self._file.stat().st_size > 0
            os.truncate(self._file, 0)
        except OSError:
            return False
        return had_room

    def is_spent(self) -> bool:
        """Whether the disk was full, and is not known to have room again."""
        try:
            return self._file.stat().st_size == 0
        except OSError:
            return False  # it was never made

    def _make(self) -> None:
        try:
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in {ENOSPC, EDQUOT}:
                raise disk_full(self._path) from error
            return  # who can't write here will be told so by SQLite
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, RESERVE_BYTES)
            else:
                os.write(handle, bytes(RESERVE_BYTES))
        except OSError as error:
            self.spend()
            if error.errno in {ENOSPC, EDQUOT}:
                raise disk_full(self._path) from error
        finally:
            os.close(handle)


def disk_full(path: str) -> StorageFullError:
    """Say that nothing new fits, and what to do."""
    return StorageFullError(
        f"the disk of the ledger {path} is full: new jobs are refused, running ones may end",
        hint="free some space on it; submits are taken again by themselves",
        retry_after=10,
    )
