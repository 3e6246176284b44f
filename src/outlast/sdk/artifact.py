"""Files of jobs: what is told of them, what they may be called, and how they get onto a disk."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import from_json

from outlast.core.errors import CorruptError, InvalidInputError
from outlast.core.instant import from_rfc3339
from outlast.core.limits import NAME_CHARS_MAX
from outlast.system import new_id

_NO_NAMES: Final = frozenset({".", ".."})  # a browser would take them out of an address


class Artifact(BaseModel, frozen=True):
    """A file that a job made: name, size in bytes, SHA-256, media type, and when it is deleted."""

    name: str
    size: int
    sha256: str
    media_type: str
    expires_at: str | None = None


def check_name(name: str) -> None:
    """Refuse what can't be shown or asked for; it is never part of a path."""
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable() or name in _NO_NAMES:
        raise InvalidInputError(
            f"artifact {name!r:.80}: expected 1–{NAME_CHARS_MAX} printable characters, "
            "and neither . nor .."
        )


def entries_of(artifacts: str, now_us: int) -> list[dict[str, Any]]:
    """Return a row's files whose time is not over."""
    return [
        entry
        for entry in (from_json(artifacts) if artifacts != "[]" else ())
        if "expires_at" not in entry or from_rfc3339(entry["expires_at"]) > now_us
    ]


def entry_of(artifacts: str, name: str, now_us: int) -> dict[str, Any] | None:
    """Return the file of this name, if there is one."""
    return next((e for e in entries_of(artifacts, now_us) if e["name"] == name), None)


async def checked(chunks: AsyncIterator[bytes], artifact: Artifact) -> AsyncIterator[bytes]:
    """Yield what came, and raise CorruptError at its end when it is not what was saved."""
    digest = sha256()
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != artifact.sha256:
        raise CorruptError(
            f"artifact {artifact.name!r:.80} came damaged: expected the SHA-256 {artifact.sha256}, "
            f"got {digest.hexdigest()}"
        )


async def write_file(chunks: AsyncIterator[bytes], path: str | Path) -> Path:
    """Write a file at a path, where it is once it is complete; return the path."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{new_id()}")
    try:
        with await asyncio.to_thread(part.open, "xb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(part.replace, target)
    finally:
        part.unlink(missing_ok=True)
    return target
