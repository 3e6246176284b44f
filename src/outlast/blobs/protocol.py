"""The protocol of a blob store: bytes under keys that are written once and never change."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from outlast.core.errors import CorruptError, NotFoundError
from outlast.core.identity import is_uuid


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as a listing shows it; `at_us` is when it was written."""

    key: str
    size: int
    at_us: int

    @property
    def owner(self) -> str:
        """Whose it is: the ID before the slash."""
        return self.key.partition("/")[0]


class BlobStore(Protocol):
    """Where bytes lie. A key is `<owner>/<blob>`, both UUIDs, so that no name is ever a path."""

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, name: str, media_type: str
    ) -> None:
        """Store the chunks durably and as a whole, or nothing; raise UnavailableError."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `end`; raise NotFoundError, UnavailableError."""
        ...

    def found(self, owner: str | None = None) -> AsyncIterator[list[Found]]:
        """Yield all there is, or an owner's, in portions, with what broken writes left behind."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these blobs; what is not there any more is no error."""
        ...

    async def mark(self, key: str) -> object:
        """Return what changes whenever the bytes do; None where the service itself sees to that."""
        ...

    async def link(self, key: str, seconds: int) -> str | None:
        """Return a URL that anybody can read the blob at for a while, where there is such."""
        ...


def check_key(key: str) -> str:
    """Return the key if it is one; nothing else ever reaches a path or an address."""
    owner, slash, blob = key.partition("/")
    if slash and is_uuid(owner) and is_uuid(blob.removeprefix(".new-")):
        return key
    raise NotFoundError(f"no blob {key!r:.80}")


def damaged(key: str) -> CorruptError:
    """Say that a blob is not what was written."""
    return CorruptError(
        f"blob {key} is damaged: its content is not what was written",
        hint="restore it from a backup, or run its job again",
    )
