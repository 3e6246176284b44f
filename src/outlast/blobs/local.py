"""Blobs in a local folder: named by IDs, so that no name a user gives ever becomes a path."""

import asyncio
import errno
import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, Final

from outlast.blobs.protocol import Found, check_key
from outlast.core.errors import NotFoundError, OutlastError, StorageFullError, UnavailableError

CHUNK: Final = 1024 * 1024
_OLD: Final = re.compile(r"[0-9a-f]{64}")  # what earlier releases named by its hash
_FAN: Final = re.compile(r"[0-9a-f]{2}")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES: Final = 3  # a folder can be removed, because it is empty, just before it is written to


class LocalStore:
    """Stores each blob once as `<folder>/<two digits>/<owner>/<blob>`.

    Folders are entered one by one without following links, so nothing outside is ever touched.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, name: str, media_type: str
    ) -> None:
        part = await self._in_thread(_Part, self, check_key(key))
        try:
            async for chunk in chunks:
                await self._in_thread(part.write, chunk)
            await self._in_thread(part.finish)
        except Exception:
            await self._in_thread(part.abandon)
            raise
        except BaseException:
            # Not awaited: whoever is cancelled stops at once, and a thread still writes perhaps.
            asyncio.get_running_loop().run_in_executor(None, part.abandon)
            raise

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        file: IO[bytes] = await self._in_thread(self._open, key)
        try:
            await self._in_thread(file.seek, start)
            while start < end and (chunk := await self._in_thread(_some, file, end - start)):
                start += len(chunk)
                yield chunk
        finally:
            file.close()

    async def found(self, owner: str | None = None) -> AsyncIterator[list[Found]]:
        for fan in [owner[-2:]] if owner else await self._in_thread(self._fans):
            yield await self._in_thread(self._listed, fan, owner)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._in_thread(self._delete, keys)

    async def mark(self, key: str) -> object:
        return await self._in_thread(self._mark, key)

    async def link(self, key: str, seconds: int) -> str | None:
        check_key(key)
        return None

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        try:
            return await asyncio.to_thread(work, *args)
        except OSError as error:
            raise self._translated(error) from error

    def _translated(self, error: OSError) -> OutlastError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return StorageFullError(
                f"the disk of the blobs in {self._folder} is full",
                hint="free some space on it; nothing half-written is left",
            )
        return UnavailableError(f"the blobs {self._folder} failed: {error}")

    @contextmanager
    def entered(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Give the open folder of a key, and the file's name in it."""
        owner, _, name = key.rpartition("/")
        steps = [owner[-2:], owner] if owner else [key[:2]]
        if make:
            self._folder.mkdir(parents=True, exist_ok=True)
        here = os.open(self._folder, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for step in steps:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(step, dir_fd=here)
                        os.fsync(here)
                below = os.open(step, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            yield here, name or key
        finally:
            os.close(here)

    def _open(self, key: str) -> IO[bytes]:
        if not _OLD.fullmatch(key):
            check_key(key)
        try:
            with self.entered(key) as (folder, name):
                # Without O_NONBLOCK a pipe under this name would be waited for.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.fdopen(os.open(name, flags, dir_fd=folder), "rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(key) from error
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise _missing(key) from error
            raise
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
            file.close()
            raise _missing(key)
        return file

    def load(self, key: str) -> bytes:
        """Return a blob whole, for those without an event loop."""
        with self._open(key) as file:
            return file.read()

    def _mark(self, key: str) -> object:
        with self._open(key) as file:
            seen = os.fstat(file.fileno())
            return (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)

    def _fans(self) -> list[str]:
        return [name for name in _names(self._folder) if _FAN.fullmatch(name)]

    def _listed(self, fan: str, only: str | None) -> list[Found]:
        found: list[Found] = []
        for owner in [only] if only else _names(self._folder / fan):
            for name in _names(self._folder / fan / owner):
                key = f"{owner}/{name}"
                with suppress(FileNotFoundError, NotADirectoryError, NotFoundError):
                    with self.entered(check_key(key)) as (folder, _):
                        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    found.append(Found(key, seen.st_size, seen.st_mtime_ns // 1_000))
        return found

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(FileNotFoundError, NotADirectoryError):
                with self.entered(check_key(key)) as (folder, name):
                    os.unlink(name, dir_fd=folder)
                owner = key.partition("/")[0]
                with suppress(OSError):  # others are in it
                    (self._folder / owner[-2:] / owner).rmdir()


class _Part:
    """A blob that is being written, under a name of its own until it is whole."""

    def __init__(self, store: LocalStore, key: str) -> None:
        self._lock = Lock()
        self._closed = False
        for tries in range(_TRIES):
            try:
                with store.entered(key, make=True) as (folder, name):
                    self._name, self._part = name, f".new-{name}"
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._file = os.fdopen(os.open(self._part, flags, 0o600, dir_fd=folder), "wb")
                    self._folder = os.dup(folder)
                    return
            except FileNotFoundError:
                if tries == _TRIES - 1:
                    raise

    def write(self, chunk: bytes) -> None:
        """Append a chunk, unless it is too late."""
        with self._lock:
            if not self._closed:
                self._file.write(chunk)

    def finish(self) -> None:
        """Flush it to disk, give it its name, and flush that, too."""
        with self._lock:
            if self._closed:
                return
            self._file.flush()
            os.fsync(self._file.fileno())
            os.rename(self._part, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
            self._close()

    def abandon(self) -> None:
        """Leave nothing behind; waits for a thread that still writes."""
        with self._lock, suppress(OSError):
            if not self._closed:
                os.unlink(self._part, dir_fd=self._folder)
                self._close()

    def _close(self) -> None:
        self._closed = True
        os.close(self._folder)
        self._file.close()


def _names(folder: Path) -> list[str]:
    """Return what is in a folder; nothing when it is none. What is done with it follows no link."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(entry.name for entry in folder.iterdir())
    return []


def _some(file: IO[bytes], left: int) -> bytes:
    return file.read(min(CHUNK, left))


def _missing(key: str) -> NotFoundError:
    return NotFoundError(f"no blob {key!r:.80}")
