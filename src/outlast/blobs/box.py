"""The blobs as the other rooms see them: streams in and out, each checked against its hash."""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from outlast.blobs.protocol import BlobStore, damaged
from outlast.core.effects import Source
from outlast.core.errors import InvalidInputError, NotFoundError, TooLargeError
from outlast.core.limits import PAYLOAD_BYTES_MAX, PAYLOAD_INLINE_MAX
from outlast.core.payload import Stored, moved, reference

_CHUNK: Final = 1024 * 1024
_END: Final = object()
_VOUCHED_MAX: Final = 1_000


class Blobs:
    """Files and large payloads, in any store.

    `new_id` names blobs; `payload_max` is how many bytes arguments or a result may have at most.
    """

    def __init__(
        self,
        store: BlobStore,
        new_id: Callable[[], str],
        *,
        payload_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self.store = store
        self.payload_max = payload_max
        self._new_id = new_id
        self._vouched: dict[str, object] = {}

    async def put(
        self,
        owner: str,
        data: Source,
        *,
        name: str = "",
        media_type: str = "application/octet-stream",
        limit: int | None = None,
        each: Callable[[], None] | None = None,
    ) -> Stored:
        """Store a file for a job (or an upload) under a key of its own; return what it became.

        Nothing stays when the source fails, or has more than `limit` bytes: that raises
        TooLargeError. `each` is called with each chunk, as a sign of progress.
        """
        key = f"{owner}/{self._new_id()}"
        digest, size = sha256(), 0

        async def seen() -> AsyncGenerator[bytes, None]:
            nonlocal size
            async with aclosing(_chunks(data)) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if each is not None:
                        each()
                    if limit is not None and size > limit:
                        raise _too_large(limit)
                    await asyncio.to_thread(digest.update, chunk)
                    yield chunk

        await self.store.write(key, seen(), name=name, media_type=media_type)
        return Stored(key, size, digest.hexdigest())

    async def read(self, stored: Stored) -> AsyncGenerator[bytes, None]:
        """Yield a file; its last chunk only when the whole is what was written, else CorruptError.

        So whoever has read to the end has read nothing else.
        """
        digest, size = sha256(), 0
        last = b""
        # One byte more than there should be: a file that has grown is damaged, too.
        async with aclosing(self.store.read(stored.key, 0, stored.size + 1)) as chunks:
            async for chunk in chunks:
                if last:
                    yield last
                last = chunk
                size += len(chunk)
                await asyncio.to_thread(digest.update, chunk)
        if size != stored.size or digest.hexdigest() != stored.sha256:
            raise damaged(stored.key)
        if last:
            yield last

    async def part(self, stored: Stored, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `end` of a file that is as it was written."""
        await self.vouch(stored)
        async with aclosing(self.store.read(stored.key, start, end)) as chunks:
            async for chunk in chunks:
                start += len(chunk)
                yield chunk
        if start != end:
            raise damaged(stored.key)

    async def vouch(self, stored: Stored) -> None:
        """Read the whole file once before parts of it are given away, and again if it changes."""
        mark = await self.store.mark(stored.key)
        if mark is None or self._vouched.get(stored.key) == mark:
            return
        async with aclosing(self.read(stored)) as chunks:
            async for _ in chunks:
                pass
        if len(self._vouched) >= _VOUCHED_MAX:
            self._vouched.clear()
        self._vouched[stored.key] = mark

    async def load(self, stored: Stored) -> bytes:
        """Return a file whole."""
        async with aclosing(self.read(stored)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def link(self, stored: Stored, seconds: int) -> str | None:
        """Return a URL that anybody can read the file at for a while, where there is such."""
        return await self.store.link(stored.key, seconds)

    async def shelve(self, owner: str, text: str) -> str:
        """Return the text, or a reference to it when it is too large for a row."""
        if len(text) <= PAYLOAD_INLINE_MAX // 4:
            return text  # however many bytes its characters have
        raw = text.encode()
        if len(raw) <= PAYLOAD_INLINE_MAX:
            return text
        if len(raw) > self.payload_max:
            raise _too_large(self.payload_max)
        return reference(await self.put(owner, raw, media_type="application/json"))

    async def fetch(self, text: str) -> str:
        """Return a row's text, from the blobs if it has moved there."""
        stored = moved(text)
        return text if stored is None else (await self.load(stored)).decode()

    async def drop(self, text: str) -> None:
        """Remove what a row that was not written would have referred to."""
        stored = moved(text)
        if stored is not None:
            await self.store.delete([stored.key])

    async def forget(self, owner: str) -> None:
        """Remove everything that belongs to a job."""
        async for portion in self.store.found(owner):
            await self.store.delete([blob.key for blob in portion])


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"payload: expected at most {limit} bytes",
        hint="save a file with job.save instead, or raise max_payload",
        limit_bytes=limit,
    )


async def _chunks(data: Source) -> AsyncGenerator[bytes, None]:
    """Read a source in pieces that are neither huge nor many."""
    match data:
        case bytes() | bytearray() | memoryview():
            view = memoryview(data)
            for start in range(0, len(view), _CHUNK):
                yield bytes(view[start : start + _CHUNK])
        case Path():
            file = await asyncio.to_thread(_opened, data)
            try:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    yield chunk
            finally:
                file.close()
        case AsyncIterable():
            async for piece in data:
                for chunk in _pieces(piece):
                    yield chunk
        case Iterable():
            source: Iterator[object] = iter(data)
            while (found := await asyncio.to_thread(_next, source)) is not _END:
                for chunk in _pieces(found):
                    yield chunk
        case _:
            raise InvalidInputError(
                f"data: expected bytes, a Path or an iterator of bytes, got {type(data).__name__}"
            )


def _next(source: Iterator[object]) -> object:
    return next(source, _END)


def _pieces(piece: object) -> Iterable[bytes]:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise InvalidInputError(f"data: expected pieces of bytes, got {type(piece).__name__}")
    view = memoryview(piece)
    return (bytes(view[start : start + _CHUNK]) for start in range(0, len(view), _CHUNK))


def _opened(path: Path) -> IO[bytes]:
    """Open a plain file; a device has no end, and a pipe perhaps no beginning."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {str(path)!r:.200}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError(f"data: expected a plain file, got {str(path)!r:.200}")
    return file
