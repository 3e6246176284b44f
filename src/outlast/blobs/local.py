"""Blobs in a local folder: named by hash, so that no name a user gives ever becomes a path."""

import asyncio
import os
import shutil
import tempfile
from errno import EDQUOT, ENOSPC
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from outlast.blobs.protocol import Stored
from outlast.core.errors import CorruptError, NotFoundError, StorageFullError

_HEX: Final = frozenset("0123456789abcdef")
_SOUND_MAX: Final = 10_000


class LocalBlobs:
    """Stores each file once as `<folder>/<first two digits>/<sha256>`."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._sound: dict[str, tuple[int, int]] = {}  # by key: the file as it was when checked

    async def put(self, data: bytes | Path) -> Stored:
        """Write to a temporary file, flush it to disk, then give it its name."""
        try:
            return await asyncio.to_thread(self._put, data)
        except OSError as error:
            if error.errno not in {ENOSPC, EDQUOT}:
                raise
            raise StorageFullError(
                f"the disk of the blobs in {self._folder} is full",
                hint="free some space on it; nothing half-written is left",
            ) from error

    def _put(self, data: bytes | Path) -> Stored:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w+b") as target:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, target)
                else:
                    target.write(data)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
                target.seek(0)
                digest = file_digest(target, "sha256").hexdigest()
            final = self._folder / digest[:2] / digest
            if not final.parent.exists():
                final.parent.mkdir(exist_ok=True)
                _sync(self._folder)
            temporary.replace(final)
            # Its name, too, must outlive a power cut: the ledger is about to rely on it.
            _sync(final.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return Stored(digest, size, digest)

    async def get(self, key: str) -> bytes:
        """Return the content, after checking that it is what was written."""
        path = self.path(key)
        if path is None:
            raise NotFoundError(f"no blob {key!r:.80}")
        data = await asyncio.to_thread(path.read_bytes)
        if sha256(data).hexdigest() != key:
            raise CorruptError(f"blob {key} is damaged: its content has another hash")
        return data

    async def check(self, key: str) -> Path | None:
        """Return the file's path, if it is here; raise CorruptError when its content is not it.

        Read as a whole when it is first asked for, and again after it was touched.
        """
        path = self.path(key)
        if path is None:
            return None
        now = path.stat()
        seen = (now.st_mtime_ns, now.st_size)
        if self._sound.get(key) != seen:
            if await asyncio.to_thread(_digest, path) != key:
                raise CorruptError(f"blob {key} is damaged: its content has another hash")
            if len(self._sound) >= _SOUND_MAX:
                self._sound.clear()
            self._sound[key] = seen
        return path

    def path(self, key: str) -> Path | None:
        """Return the file's path, if it is here."""
        if len(key) != sha256().digest_size * 2 or not _HEX.issuperset(key):
            return None
        path = self._folder / key[:2] / key
        return path if path.is_file() else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Make a folder's names durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
