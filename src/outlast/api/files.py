"""The routes of bytes: the files of jobs, whole or in part, and uploads that become arguments."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from outlast.api.body import check_encoding, parse
from outlast.api.codec import answer, problem
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.core.errors import (
    GoneError,
    InvalidInputError,
    MalformedInputError,
    NotFoundError,
    OutlastError,
    TooLargeError,
)
from outlast.core.identity import is_uuid
from outlast.core.instant import to_rfc3339
from outlast.core.limits import LINK_SECONDS, UPLOAD_TTL_US
from outlast.core.payload import Stored, disposition, stored_of
from outlast.sdk.artifact import entry_of
from outlast.system import new_id

UPLOADED: Final = "$blob"
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SANDBOX: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}


class RangeError(OutlastError):
    """The range asked for can't be given."""

    code = "range-not-satisfiable"
    http_status = 416


class ArtifactNotFoundError(NotFoundError):
    """The job has no file of this name."""

    code = "artifact-not-found"


class ArtifactExpiredError(GoneError):
    """The job had a file of this name, whose time is over."""

    code = "artifact-expired"


async def artifact(context: Context, request: Request, who: Caller) -> Response:
    """Download a file that the job saved, or a part of it; `redirect=no` forbids to send it on."""
    job = await context.job(request.path_params["id"], who)
    name = request.path_params["name"]
    entry = entry_of(job.artifacts, name, context.clock.now_us())
    if entry is None:
        if entry_of(job.artifacts, name, 0) is not None:
            raise ArtifactExpiredError(f"artifact {name!r:.80} of job {job.id} has expired")
        raise ArtifactNotFoundError(f"job {job.id} has no artifact {name!r:.80}")
    stored = stored_of(entry)
    etag = f'"{stored.sha256}"'
    headers = {**_SANDBOX, "ETag": etag}
    given = request.headers.get("if-none-match")
    if given is not None and _names(given, etag):
        return Response(status_code=304, headers=headers)
    blobs = context.app.blobs
    if request.query_params.get("redirect") != "no":
        link = await blobs.link(stored, LINK_SECONDS)
        if link is not None:
            return Response(status_code=303, headers={**headers, "Location": link})
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": disposition(name)}
    try:
        asked = range_of(request.headers, stored.size, etag)
    except RangeError as error:
        total = {"Content-Range": f"bytes */{stored.size}"}
        return problem(error, request.url.path, headers=total)
    start, end = asked or (0, stored.size)
    headers["Content-Length"] = str(end - start)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    status, kind = 206 if asked else 200, entry["media_type"]
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    source = blobs.part(stored, start, end) if asked else blobs.read(stored)
    try:
        chunks = await _begun(source)
    except NotFoundError as error:
        raise ArtifactNotFoundError(
            f"artifact {name!r:.80} of job {job.id} is not in this server's blobs",
            hint="check that API and workers are given the same --blobs",
        ) from error
    return StreamingResponse(chunks, status, headers, kind)


async def _begun(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first chunk, so that what is missing or damaged is told before the headers are."""
    first = await anext(source, b"")

    async def chunks() -> AsyncIterator[bytes]:
        yield first
        async for chunk in source:
            yield chunk

    return chunks()


def _names(given: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag in tags or "*" in tags


def range_of(headers: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """Return from where up to where is asked for; None for the whole. Raises RangeError.

    Several ranges at once, and what is no range, are answered with the whole (RFC 9110, 14.2).

    >>> range_of({"range": "bytes=2-"}, 10, ""), range_of({"range": "bytes=-3"}, 10, "")
    ((2, 10), (7, 10))
    """
    given = headers.get("range")
    if given is None or headers.get("if-range", etag) != etag:
        return None
    found = _RANGE.fullmatch(given.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2] or size) + 1)
        if found[2] and int(found[2]) < start:
            return None
    if start >= min(size, end):
        raise RangeError(f"range: expected a part of {size} bytes, got {given!r:.60}")
    return start, end


async def upload(context: Context, request: Request, who: Caller) -> Response:
    """Store a body of any size for arguments that refer to it by its ID."""
    check_encoding(request)
    blobs, owner = context.app.blobs, new_id()
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:18]) > blobs.payload_max:
        raise TooLargeError(
            f"body: expected at most {blobs.payload_max} bytes", limit_bytes=blobs.payload_max
        )
    try:
        stored = await blobs.put(owner, request.stream(), limit=blobs.payload_max)
    except ClientDisconnect as error:
        raise MalformedInputError("body: the connection closed in the middle of it") from error
    doc = json.dumps({**asdict(stored), "tenant": who.tenant or ""})
    await context.ledger.put("upload", owner, doc, ttl_us=UPLOAD_TTL_US)
    until = to_rfc3339(context.clock.now_us() + UPLOAD_TTL_US)
    made = {"blob": owner, "size": stored.size, "sha256": stored.sha256, "expires_at": until}
    return answer(made, 201)


class Uploads:
    """What a request's arguments refer to: all of it together is at most one payload."""

    def __init__(self, context: Context, who: Caller) -> None:
        self._context = context
        self._tenant = who.tenant or ""
        self._left = context.app.blobs.payload_max

    async def resolve(self, args: Any, path: str = "args") -> Any:
        """Return arguments with the JSON of each upload in the place of `{"$blob": id}`."""
        if not isinstance(args, dict):
            return args
        if args.keys() == {UPLOADED}:
            return await self._read(args[UPLOADED], path)
        for name, value in args.items():
            if isinstance(value, dict) and value.keys() == {UPLOADED}:
                args[name] = await self._read(value[UPLOADED], f"{path}.{name}")
        return args

    async def _read(self, blob: object, path: str) -> Any:
        is_id = isinstance(blob, str) and is_uuid(blob)
        docs = await self._context.ledger.docs("upload", str(blob)) if is_id else []
        found = next(iter(docs), None)
        said = from_json(found.doc) if found else {}
        over = found is None or (found.lease_until or 0) <= self._context.clock.now_us()
        if over or said.pop("tenant") != self._tenant:
            message = f"expected the ID of an upload that is not over, got {blob!r:.60}"
            raise InvalidInputError(
                f"{path}: {message}",
                hint="send it with POST /v1/blobs first",
                errors=[{"path": path, "message": message}],
            )
        stored = Stored(**said)
        self._left -= stored.size
        if self._left < 0:
            raise TooLargeError(f"{path}: expected less in the uploads of one request")
        raw = await self._context.app.blobs.load(stored)
        return await asyncio.to_thread(parse, raw, field=path)
