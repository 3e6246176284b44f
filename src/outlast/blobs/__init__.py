"""Result files and large payloads."""

from outlast.blobs.local import LocalBlobs
from outlast.blobs.protocol import Blobs, Stored
from outlast.core.errors import InvalidInputError

__all__ = ["Blobs", "LocalBlobs", "Stored", "open_blobs"]


def open_blobs(url: str) -> Blobs:
    """Open the blob store that a URL names: `file:///folder` or a plain folder path."""
    if "://" in url and not url.startswith("file:///"):
        raise InvalidInputError(f"blobs: expected a folder or file:///folder, got {url!r:.100}")
    return LocalBlobs(url.removeprefix("file://"))
