"""Reading bodies that strangers send, and writing jobs as the contract shows them."""

import re
from typing import Any, Final

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.core.errors import MalformedInputError, OutlastError, TooLargeError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, JobRecord
from outlast.core.limits import BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_DIGITS_MAX

_DIGITS: Final = re.compile(rb"\d{%d}" % (JSON_DIGITS_MAX + 1))
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SECRET_KEYS: Final = ("traceback", "fingerprint")


class MediaTypeError(MalformedInputError):
    """The body is not what its media type should be."""

    code = "unsupported-media-type"
    http_status = 415


async def read_body(request: Request) -> dict[str, Any]:
    """Read a JSON object, bounded in size, depth and digits; raise what the contract says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MediaTypeError(f"content-type: expected application/json, got {kind!r:.80}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeError("content-encoding: expected none", hint="send the body as it is")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise TooLargeError(
                f"body: expected at most {BODY_BYTES_MAX} bytes",
                hint="store the data elsewhere (a bucket, a database) and pass where it lies",
            )
    return parse(bytes(raw))


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object, or raise MalformedInputError that says what is wrong with it."""
    bare = _STRINGS.sub(b"", raw)
    depth = deepest = 0
    for byte in bare:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    if deepest > JSON_DEPTH_MAX:
        raise MalformedInputError(f"body: expected at most {JSON_DEPTH_MAX} levels of nesting")
    if _DIGITS.search(bare):
        raise MalformedInputError(f"body: expected numbers of at most {JSON_DIGITS_MAX} digits")
    if b"\\u0000" in raw or b"\x00" in raw:
        raise MalformedInputError("body: expected text without NUL characters")
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedInputError(f"body: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedInputError(f"body: expected an object, got {type(value).__name__}")
    return value


def answer(
    value: object,
    status: int = 200,
    *,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """Write a value as JSON."""
    return Response(to_json(value), status, headers, media_type)


def problem(error: OutlastError, instance: str) -> Response:
    """Write an error as a problem document (RFC 9457)."""
    facts = {name: value for name, value in error.facts.items() if value is not None}
    retry = facts.get("retry_after")
    return answer(
        {
            "type": f"https://outlast.dev/problems/{error.code}",
            "title": error.code.replace("-", " "),
            "status": error.http_status,
            "detail": str(error),
            "instance": instance,
            "code": error.code,
            **facts,
        },
        error.http_status,
        headers={"Retry-After": str(retry)} if retry else None,
        media_type="application/problem+json",
    )


def _time(us: int | None) -> str | None:
    return None if us is None else to_rfc3339(us)


def job_out(job: JobRecord, *, admin: bool = False) -> dict[str, Any]:
    """Write a job as `GET /v1/jobs/{id}` shows it; tracebacks are for scope admin."""
    error = from_json(job.error) if job.error else None
    if error and not admin:
        error = {name: value for name, value in error.items() if name not in _SECRET_KEYS}
    artifacts = [
        {name: value for name, value in entry.items() if name != "blob"}
        for entry in from_json(job.artifacts)
    ]
    here = f"/v1/jobs/{job.id}"
    return {
        "id": job.id, "task": job.task, "queue": job.queue, "status": job.status,
        "done": job.status.terminal, "cancel_requested_at": _time(job.cancel_requested_at),
        "attempt": job.attempt, "max_attempts": job.max_attempts, "priority": job.priority,
        "tags": from_json(job.tags), "progress": from_json(job.progress) if job.progress else None,
        "position": None, "estimated_start_at": None, "estimated_finish_at": None,
        "submitted_at": _time(job.submitted_at), "run_at": _time(job.run_at),
        "started_at": _time(job.started_at), "finished_at": _time(job.finished_at),
        "result": from_json(job.result) if job.result else None, "error": error,
        "artifacts": artifacts, "workflow_id": None, "parent_id": None, "step": None,
        "links": {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"},
    }  # fmt: skip


def event_out(event: Event, *, admin: bool = False) -> dict[str, Any]:
    """Write an event."""
    data = from_json(event.data)
    if not admin and isinstance(data.get("error"), dict):
        data["error"] = {k: v for k, v in data["error"].items() if k not in _SECRET_KEYS}
    return {
        "seq": event.seq, "job_id": event.job_id, "type": event.type, "at": to_rfc3339(event.at),
        "data": data,
    }  # fmt: skip
