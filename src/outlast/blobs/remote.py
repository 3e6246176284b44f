"""Blobs in S3, Google Cloud Storage or Azure, and whatever speaks like them."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from outlast.blobs.protocol import Found, check_key
from outlast.core.errors import (
    CapabilityError,
    InvalidInputError,
    NotFoundError,
    OutlastError,
    UnavailableError,
)
from outlast.core.limits import SECOND
from outlast.core.payload import disposition

SCHEMES: Final = frozenset({"s3", "gs", "az"})
# Two parts of eight MiB on their way keep a file of any size within the memory of a few; with
# 10,000 parts, S3's own limit, a file has at most 80 GB.
_PART: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 2
_WINDOW: Final = 4 * 1024 * 1024
_PORTION: Final = 1_000
_CLIENT: Final = {"timeout": "60s", "connect_timeout": "5s"}
_RETRIES: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}


class RemoteStore:
    """One bucket, or a part of it.

    Credentials come from the usual environment variables (AWS_…, GOOGLE_…, AZURE_…); the URL's
    query has other options of the service (`endpoint`, `region`, `account_name`…), and
    `redirect=no` for a service that callers can't reach themselves.
    """

    def __init__(self, url: str) -> None:
        try:
            self._lib: Any = import_module("obstore")
            stores: Any = import_module("obstore.store")
        except ImportError as error:
            raise CapabilityError(
                f"files in {url.partition(':')[0]}:// need an extra",
                hint="pip install 'outlast[blobs]'",
            ) from error
        address, options = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
        if not address.netloc:
            raise InvalidInputError(f"blobs: expected {address.scheme}://bucket, got {url!r:.100}")
        self._links = options.pop("redirect", "yes") != "no"
        self.place = f"{address.scheme}://{address.netloc}{address.path}"
        client: dict[str, Any] = dict(_CLIENT)
        if options.get("endpoint", "").startswith("http://"):
            client["allow_http"] = True
        try:
            self._store = stores.from_url(
                self.place, config=options, client_options=client, retry_config=_RETRIES
            )
        except Exception as error:
            raise InvalidInputError(
                f"blobs {self.place}: {_first(error)}", hint="check the URL and its options"
            ) from error

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, name: str, media_type: str
    ) -> None:
        with self._told(check_key(key)):
            await self._store.put_async(
                key,
                chunks,
                attributes={
                    "Content-Type": media_type,
                    "Content-Disposition": disposition(name),
                },
                chunk_size=_PART,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        with self._told(check_key(key)):
            end = min(end, (await self._store.head_async(key))["size"])
        # Window by window: no more is in memory than one, and each is tried again for itself.
        while start < end:
            stop = min(end, start + _WINDOW)
            with self._told(key):
                window = bytes(await self._store.get_range_async(key, start=start, end=stop))
            start = stop
            yield window

    async def found(self, owner: str | None = None) -> AsyncIterator[list[Found]]:
        with self._told("…"):
            portions = self._store.list(owner, chunk_size=_PORTION)
        while True:
            with self._told("…"):
                portion = await anext(portions, None)
            if portion is None:
                return
            yield [
                Found(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * SECOND))
                for meta in portion
                if _is_ours(meta["path"])
            ]

    async def delete(self, keys: Sequence[str]) -> None:
        if keys:
            with self._told(keys[0]):
                await self._store.delete_async([check_key(key) for key in keys])

    async def mark(self, key: str) -> object:
        with self._told(check_key(key)):
            await self._store.head_async(key)
        # The service checks what it keeps, and a transport checks what it carries.
        return None

    async def link(self, key: str, seconds: int) -> str | None:
        if not self._links:
            return None
        with self._told(check_key(key)):
            signed: str = await self._lib.sign_async(
                self._store, "GET", key, timedelta(seconds=seconds)
            )
        return signed

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn the library's errors into ours; they never leave this file."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError(f"no blob {key!r:.80}") from error
        except OutlastError:
            raise
        except self._lib.exceptions.BaseError as error:
            raise UnavailableError(
                f"the blobs {self.place} failed: {_first(error)}",
                hint="check the address, the credentials and the bucket",
            ) from error


def _first(error: Exception) -> str:
    """Return the sentence that the library's long account starts with."""
    return str(error).partition("\n")[0][:300]


def _is_ours(key: str) -> bool:
    try:
        check_key(key)
    except NotFoundError:
        return False
    return True
