"""An event of a job's history as a CloudEvent 1.0 in the JSON format."""

from typing import Any, Final

from pydantic_core import from_json, to_json

from outlast.core.fold import Folded, evolve
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, JobRecord
from outlast.core.status import Status

TYPE: Final = "dev.outlast.job."
BYTES_MAX: Final = 32 * 1024  # of what an event says, as JSON
_TEXT_MAX: Final = 1_000
# What goes along of an event: no arguments, no results, no traceback, and no token.
_SAID: Final = frozenset(
    {
        *("attempt", "attempts_used", "delay_us", "delayed", "error", "forgiven", "lost"),
        *("missing", "outcome", "priority", "reason", "worker"),
    }
)
_OF_ERROR: Final = frozenset(
    {"at", "attempt", "fingerprint", "hint", "message", "reason", "retryable", "type"}
)
_NEVER: Final = frozenset({"args", "blob", "result", "traceback"})
_UNKNOWN: Final = Folded(Status.WAITING)


def cloud_event(
    event: Event, job: JobRecord | None, *, source: str, attempt: int | None, whole: bool
) -> bytes:
    """Write an event; with `whole` it says all but what is never told.

    The ID is the job's and the event's number in its history, so a repeat has the same one,
    even after the ledger has moved to another place.
    """
    said = from_json(event.data)
    kept = {
        name: _bounded(name, value)
        for name, value in said.items()
        if (name not in _NEVER if whole else name in _SAID)
    }
    if len(to_json(kept, inf_nan_mode="null")) > BYTES_MAX:
        kept = {"truncated": True}
    return to_json(
        {
            "specversion": "1.0",
            "id": f"{event.job_id}/{event.seq}",
            "source": source,
            "type": f"{TYPE}{event.type}",
            "subject": event.job_id,
            "time": to_rfc3339(event.at),
            "datacontenttype": "application/json",
            "partitionkey": event.job_id,
            "sequence": f"{event.position:020}",
            "data": {
                "job_id": event.job_id,
                "seq": event.seq,
                "task": job and job.task,
                "queue": job and job.queue,
                "tenant": job and (job.tenant or None),
                "status": status_after(event),
                "attempt": attempt,
                "event": kept,
            },
        },
        inf_nan_mode="null",
    )


def attempt_in(event: Event) -> int | None:
    """Return the attempt that an event itself names."""
    said = from_json(event.data)
    error = said.get("error")
    attempt = said.get("attempt", error.get("attempt") if isinstance(error, dict) else None)
    return attempt if isinstance(attempt, int) else None


def status_after(event: Event) -> str | None:
    """Return the job's status after an event, where that follows from the event alone."""
    before = None if event.type == "submitted" else _UNKNOWN
    try:
        after = evolve(before, event).status
    except (KeyError, TypeError, ValueError):  # what one event lacks must not hold back all others
        return None
    return None if after is Status.WAITING else str(after)


def _bounded(name: str, value: Any) -> Any:
    if name == "error" and isinstance(value, dict):
        return {key: _bounded(key, part) for key, part in value.items() if key in _OF_ERROR}
    if isinstance(value, str) and len(value) > _TEXT_MAX:
        return f"{value[:_TEXT_MAX]}…"
    return value
