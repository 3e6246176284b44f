"""Files of jobs and large payloads."""

from typing import Final

from outlast.blobs.box import Blobs
from outlast.blobs.local import LocalStore
from outlast.blobs.protocol import BlobStore, Found
from outlast.blobs.remote import SCHEMES, RemoteStore
from outlast.core.errors import InvalidInputError
from outlast.core.limits import PAYLOAD_BYTES_MAX
from outlast.core.payload import Stored
from outlast.system import new_id

__all__ = ["BlobStore", "Blobs", "Found", "LocalStore", "Stored", "open_blobs", "open_store"]

_FORMS: Final = "a folder, file:///folder, s3://bucket, gs://bucket or az://container"


def open_store(url: str) -> BlobStore:
    """Open the store that a URL names: a folder, or a bucket and perhaps a prefix in it."""
    scheme, mark, _ = url.partition("://")
    if mark and scheme in SCHEMES:
        return RemoteStore(url)
    if mark and not url.startswith("file:///"):
        raise InvalidInputError(f"blobs: expected {_FORMS}; got {url!r:.100}")
    return LocalStore(url.removeprefix("file://"))


def open_blobs(url: str, *, payload_max: int = PAYLOAD_BYTES_MAX) -> Blobs:
    """Open the blobs that a URL names; see `open_store`."""
    return Blobs(open_store(url), new_id, payload_max=payload_max)
