"""The blob store's protocol: content goes in once, is named by its hash, and never changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file: its key, its size in bytes and the SHA-256 of its content."""

    key: str
    size: int
    sha256: str


class Blobs(Protocol):
    """Where files live."""

    async def put(self, data: bytes | Path) -> Stored:
        """Store a file durably under the hash of its content."""
        ...

    async def get(self, key: str) -> bytes:
        """Return a file's content; raise NotFoundError or CorruptError."""
        ...

    async def check(self, key: str) -> Path | None:
        """Return where the file lies on this machine, once its content is known to be right."""
        ...

    def path(self, key: str) -> Path | None:
        """Return where the file lies on this machine, if it does."""
        ...
