"""Calls to a server over HTTP: its errors as their classes; what got lost is asked again."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from itertools import count
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from outlast.core.errors import (
    CapabilityError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidInputError,
    NotFoundError,
    OutlastError,
    QueueFullError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
)
from outlast.core.instant import retry_after_us
from outlast.core.limits import BODY_BYTES_MAX, MILLISECOND, SECOND
from outlast.core.retry import Backoff
from outlast.system import CLOCK, ENTROPY

_FRAME_BYTES: Final = 64  # what a batch has around its jobs, and more
_SILENCE_S: Final = 45.0  # a live stream says something every 15 s
_BACKOFF: Final = Backoff(base_us=200 * MILLISECOND, cap_us=5 * SECOND)
_BY_STATUS: Final[dict[int, type[OutlastError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: RateLimitedError,
}
# Parts of a problem document that our error says in its own way, or that name its parameters.
_NO_FACTS: Final = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "message", "hint"}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: a JSON document, or None where there is none."""

    status: int
    headers: Mapping[str, str]
    document: Any


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry of a live stream."""

    number: int
    type: str
    data: dict[str, Any]


class _Refused(Exception):
    """A call that may go well later: whether it can have had an effect, and when to try again."""

    def __init__(self, error: OutlastError, *, sent: bool, after: str | None = None) -> None:
        super().__init__()
        self.error = error
        self.sent = sent
        self.busy = isinstance(error, QueueFullError | RateLimitedError)
        self._after_us = None if after is None else retry_after_us(after, CLOCK.now_us())

    def pause_us(self, tries: int) -> int:
        if self.busy and self._after_us is not None:
            return self._after_us
        return pause_us(tries)


def pause_us(tries: int) -> int:
    """Return how long to wait before the next of so many tries."""
    return _BACKOFF.delay_us(tries, ENTROPY.fraction())


def to_body(value: object) -> bytes:
    """Write a request's body; raise InvalidInputError for what is no JSON."""
    try:
        return to_json(value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the request can't be written as JSON: {error}") from error


class Http:
    """One server, seen through a pool of connections.

    `timeout_s` bounds the wait for each answer, `retry_for_s` for how long an unanswered call is
    made again.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout_s: float,
        retry_for_s: float,
        pool: Any = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"url: expected http://… or https://…, got {url!r:.100}")
        try:
            self._httpx: Any = import_module("httpx")
        except ImportError as error:
            raise CapabilityError(
                "calling a server needs an extra", hint="pip install 'outlast[client]'"
            ) from error
        self.url = url.rstrip("/")
        self.retry_for_us = int(retry_for_s * SECOND)
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._own = pool is None
        self._pool = self._httpx.AsyncClient() if pool is None else pool

    async def close(self) -> None:
        """Close the connections, unless the caller gave the pool."""
        if self._own:
            await self._pool.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        hold_s: float = 0.0,
        patience_s: float = 0.0,
        safe: bool | None = None,
    ) -> Answer:
        """Make a call until it is answered; raise the error that the answer tells of.

        A `body` of bytes is sent as it is, any other as JSON. `safe` says that it may be made twice
        (as any GET), so that it is made again when its answer got lost; what was never sent always
        is. `hold_s` is how long the server may hold the answer. `patience_s` bounds how long a
        refusal for now (QueueFullError, RateLimitedError) is met by waiting as long as it says.
        """
        request: dict[str, Any] = {"params": query, "headers": {**self._headers, **(headers or {})}}
        if body is not None:
            plain = isinstance(body, bytes)
            request["content"] = body if plain else to_body(body)
            kind = "application/octet-stream" if plain else "application/json"
            request["headers"]["Content-Type"] = kind
        request["timeout"] = self._httpx.Timeout(self._timeout_s, read=self._timeout_s + hold_s)
        again = safe if safe is not None else method == "GET"
        begun = CLOCK.elapsed_us()
        for tries in count(1):
            try:
                return await self._once(method, path, request)
            except _Refused as refused:
                lost_us = self.retry_for_us if again or not refused.sent else 0
                left = (int(patience_s * SECOND) if refused.busy else lost_us) - (
                    CLOCK.elapsed_us() - begun
                )
                pause = refused.pause_us(tries)
                if pause > left:
                    raise refused.error from refused.error.__cause__
                await asyncio.sleep(pause / SECOND)
        raise AssertionError("counting has no end")  # pragma: no cover

    async def lightened(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send arguments that are too large for a request before it, on their own."""
        if len(to_body(job)) + _FRAME_BYTES <= BODY_BYTES_MAX:
            return job
        answer = await self.call("POST", "/v1/blobs", body=to_body(job.get("args")), safe=True)
        return {**job, "args": {"$blob": answer.document["blob"]}}

    async def _once(self, method: str, path: str, request: dict[str, Any]) -> Answer:
        try:
            response = await self._pool.request(method, self.url + path, **request)
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise self._unreached(error) from error
        return self._read(response)

    def _unreached(self, error: Exception) -> Exception:
        told = UnavailableError(
            f"can't reach {self.url}: {str(error) or type(error).__name__}",
            hint="is the server running?",
        )
        told.__cause__ = error
        if not isinstance(error, self._httpx.TransportError):
            return told
        unsent = (self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.PoolTimeout)
        return _Refused(told, sent=not isinstance(error, unsent))

    def _read(self, response: Any) -> Answer:
        status: int = response.status_code
        if status in {HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT}:
            return Answer(status, response.headers, None)
        try:
            document = response.json()
        except ValueError:
            document = None
        if response.is_success and document is not None:
            return Answer(status, response.headers, document)
        after = response.headers.get("retry-after")
        error: OutlastError
        if isinstance(document, dict) and not response.is_success:
            error = error_of(status, document)
        else:
            error = UnavailableError(
                f"{self.url} answered {status}, and not as an Outlast server does",
                hint="check the URL",
            )
        if error.retryable and (document is not None or status >= HTTPStatus.INTERNAL_SERVER_ERROR):
            raise _Refused(error, sent=True, after=after)
        raise error

    async def frames(self, path: str, after: int) -> AsyncGenerator[Frame, None]:
        """Follow a live stream over one connection; raise UnavailableError when it is cut."""
        headers = {**self._headers, "Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = self._httpx.Timeout(self._timeout_s, read=_SILENCE_S)
        try:
            async with self._pool.stream(
                "GET", self.url + path, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    self._read(response)
                async with aclosing(response.aiter_bytes()) as chunks:
                    async for frame in _frames(chunks):
                        yield frame
        except self._httpx.HTTPError as error:
            raise UnavailableError(
                f"the stream {self.url}{path} was cut: {str(error) or type(error).__name__}"
            ) from error
        except _Refused as refused:
            raise refused.error from refused.error.__cause__

    async def download(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes as they come; raise UnavailableError when that stops midway."""
        try:
            async with self._pool.stream(
                "GET",
                self.url + path,
                headers=self._headers,
                timeout=self._timeout_s,
                follow_redirects=True,  # the store's signed URL; httpx keeps our key from it
            ) as response:
                if not response.is_success:
                    await response.aread()
                    self._read(response)
                async for chunk in response.aiter_bytes():
                    yield chunk
        except self._httpx.HTTPError as error:
            raise UnavailableError(
                f"the download of {self.url}{path} was cut: {str(error) or type(error).__name__}"
            ) from error
        except _Refused as refused:
            raise refused.error from refused.error.__cause__


async def _frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """Read server-sent events.

    Lines end in a line feed alone: JSON may hold other characters that Python counts as line ends.
    """
    rest, fields = b"", dict[str, str]()
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if not line:
                if "data" in fields:
                    data = json.loads(fields["data"])
                    yield Frame(int(fields.get("id", 0)), fields.get("event", "message"), data)
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")


def error_of(status: int, problem: Mapping[str, Any]) -> OutlastError:
    """Return the error that a problem document tells of, as the app in process would raise it.

    >>> error_of(404, {"code": "job-not-found", "detail": "there is no job 'x'"})
    NotFoundError("there is no job 'x'")
    """
    code = str(problem.get("code", ""))
    # Only the tree that users know: which of the server's own classes are loaded is chance.
    home = OutlastError.__module__
    by_code = {kind.code: kind for kind in _kinds(OutlastError) if kind.__module__ == home}
    fallback = InvalidInputError if status < HTTPStatus.INTERNAL_SERVER_ERROR else UnavailableError
    kind = by_code.get(code) or _BY_STATUS.get(status, fallback)
    facts = {name: value for name, value in problem.items() if name not in _NO_FACTS}
    error = kind(str(problem.get("detail") or f"the server answered {status}"), **facts)
    error.code = code or kind.code
    return error


def _kinds(base: type[OutlastError]) -> list[type[OutlastError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _kinds(child))]
