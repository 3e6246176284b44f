"""Writing answers: jobs, events and errors as the contract shows them."""

from contextvars import ContextVar
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic_core import from_json, to_json
from starlette.responses import Response

from outlast.core.errors import OutlastError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, JobRecord
from outlast.core.limits import SECOND
from outlast.core.payload import moved
from outlast.core.status import Status
from outlast.sdk.artifact import entries_of
from outlast.system import CLOCK

_FOR_ADMINS: Final = frozenset({"traceback"})
_INTERNAL: Final = frozenset({"blob"})
PROBLEMS: Final = "https://outlast.dev/problems"
# Where the answered request found this API mounted, as it stands in an address; empty at the top.
mounted_at: Final[ContextVar[str]] = ContextVar("outlast_mounted_at", default="")


def answer(
    value: object,
    status: int = 200,
    *,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """Write a value as JSON."""
    return Response(to_json(value, inf_nan_mode="null"), status, headers, media_type)


def problem_body(error: OutlastError, instance: str | None = None) -> dict[str, Any]:
    """Describe an error as RFC 9457 wants it; its facts become members."""
    body: dict[str, Any] = {name: value for name, value in error.facts.items() if value is not None}
    body |= {
        "type": f"{PROBLEMS}/{error.code}",
        "title": error.code.replace("-", " ").capitalize(),
        "status": error.http_status,
        "detail": str(error),
        "code": error.code,
    }
    if instance is not None:
        body["instance"] = instance
    return body


def problem(
    error: OutlastError, instance: str, *, headers: dict[str, str] | None = None
) -> Response:
    """Write an error as a problem document."""
    extra = dict(headers or {})
    retry = error.facts.get("retry_after")
    if retry is None and error.retryable:
        retry = 1
    if retry is not None:
        extra["Retry-After"] = str(retry)
    if error.http_status == 401:  # noqa: PLR2004 - RFC 9110 wants the challenge with it
        extra["WWW-Authenticate"] = 'Bearer realm="outlast"'
    if error.http_status in {413, 415}:
        # The rest of the body is not read, so the connection can't carry another request.
        extra["Connection"] = "close"
    return answer(
        problem_body(error, instance),
        error.http_status,
        headers=extra,
        media_type="application/problem+json",
    )


def time_out(us: int | None) -> str | None:
    """Write an instant, or null."""
    return None if us is None else to_rfc3339(us)


def error_out(error: dict[str, Any], *, admin: bool) -> dict[str, Any]:
    """Write an error of user code; its traceback is for scope admin."""
    if admin:
        return error
    return {name: value for name, value in error.items() if name not in _FOR_ADMINS}


class Place(NamedTuple):
    """How many jobs are ahead of one, and when it should start and end, where that is known."""

    position: int | None
    starts_at: int | None
    ends_at: int | None


NOWHERE: Final = Place(None, None, None)


def address_of(job_id: str) -> str:
    """Return where the caller finds a job."""
    return f"{mounted_at.get()}/v1/jobs/{job_id}"


def job_out(job: JobRecord, *, admin: bool = False, place: Place = NOWHERE) -> dict[str, Any]:
    """Write a job as `GET /v1/jobs/{id}` shows it."""
    here = address_of(job.id)
    progress = from_json(job.progress) if job.progress else None
    return {
        "id": job.id, "task": job.task, "queue": job.queue, "status": job.status,
        "done": job.status.terminal, "cancel_requested_at": time_out(job.cancel_requested_at),
        "attempt": job.attempt, "max_attempts": job.max_attempts, "priority": job.priority,
        "tags": from_json(job.tags) if job.tags != "[]" else [], "progress": progress,
        "position": place.position, "estimated_start_at": time_out(place.starts_at),
        "estimated_finish_at": time_out(_finishes_at(job, progress) or place.ends_at),
        "submitted_at": to_rfc3339(job.submitted_at), "run_at": to_rfc3339(job.run_at),
        "started_at": time_out(job.started_at), "finished_at": time_out(job.finished_at),
        "result": from_json(job.result) if job.result and not moved(job.result) else None,
        "error": error_out(from_json(job.error), admin=admin) if job.error else None,
        "artifacts": _artifacts_out(job) if job.artifacts != "[]" else [],
        "workflow_id": None, "parent_id": None, "step": None,
        "links": {
            "self": here, "events": f"{here}/events", "cancel": f"{here}/cancel",
            # Only where the result is too large to stand here.
            **({"result": f"{here}/result"} if moved(job.result) else {}),
        },
    }  # fmt: skip


def _artifacts_out(job: JobRecord) -> list[dict[str, Any]]:
    return [
        {
            **{name: value for name, value in entry.items() if name not in _INTERNAL},
            "href": f"{address_of(job.id)}/artifacts/{quote(entry['name'], safe='')}",
        }
        for entry in entries_of(job.artifacts, CLOCK.now_us())
    ]


def _finishes_at(job: JobRecord, progress: dict[str, Any] | None) -> int | None:
    """Say when a running attempt ends at its present rate."""
    left = progress.get("eta") if progress and job.status is Status.PROCESSING else None
    return CLOCK.now_us() + int(left * SECOND) if isinstance(left, int | float) else None


def event_out(event: Event, *, admin: bool = False) -> dict[str, Any]:
    """Write an event."""
    data = from_json(event.data)
    if isinstance(data.get("error"), dict):
        data["error"] = error_out(data["error"], admin=admin)
    if event.type in {"artifact", "step"}:
        data = {name: value for name, value in data.items() if name not in _INTERNAL}
    return {
        "seq": event.seq, "job_id": event.job_id, "type": event.type, "at": to_rfc3339(event.at),
        "data": data,
    }  # fmt: skip
