"""Every way in, with the scope that it needs; what is not in this table is not served."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outlast.api import (
    act,
    dead,
    events,
    files,
    jobs,
    limits,
    operate,
    schedules,
    submit,
)
from outlast.api.context import Context
from outlast.api.guard import Caller

Handler = Callable[[Context, Request, Caller], Awaitable[Response]]

_PAGED: Final = ("limit", "cursor", "sort")
_FILTERED: Final = ("status", "queue", "task", "tag", "submitted_after", "submitted_before", "q")


@dataclass(frozen=True, slots=True)
class Way:
    """One operation: how it is called, who may call it, what it takes and what it gives."""

    method: str
    path: str
    scope: str
    handler: Handler
    gives: str  # the schema of the answer, or its media type
    takes: str | None = None  # the schema of the body
    status: int = 200
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


WAYS: Final = (
    Way("POST", "/v1/jobs", "submit", submit.submit, "Job", "Submit", 202,
        headers=("Idempotency-Key", "Prefer")),
    Way("GET", "/v1/jobs", "read", jobs.index, "Jobs", query=(*_FILTERED, *_PAGED)),
    Way("POST", "/v1/jobs/batch", "submit", submit.submit_batch, "BatchAnswer", "Batch", 202),
    Way("POST", "/v1/jobs/cancel", "admin", act.cancel_many, "Count", "Filter", 202),
    Way("POST", "/v1/jobs/retry", "admin", act.retry_many, "Count", "Filter", 202),
    Way("POST", "/v1/jobs/discard", "admin", act.discard_many, "Count", "Filter", 202),
    Way("GET", "/v1/jobs/{id}", "read", jobs.show, "Job", headers=("If-None-Match", "Prefer")),
    Way("PATCH", "/v1/jobs/{id}", "operate", act.change, "Job", "Change"),
    Way("DELETE", "/v1/jobs/{id}", "operate", act.forget, "", status=204),
    Way("POST", "/v1/jobs/{id}/cancel", "submit", act.cancel, "Job", status=202),
    Way("POST", "/v1/jobs/{id}/retry", "operate", act.retry, "Job", "Retry", 202),
    Way("GET", "/v1/jobs/{id}/events", "read", events.of_job, "Events", query=("after",),
        headers=("Last-Event-ID",)),
    Way("GET", "/v1/jobs/{id}/attempts", "read", jobs.attempts, "Attempts"),
    Way("GET", "/v1/jobs/{id}/logs", "read", jobs.logs, "Logs", query=("after",)),
    Way("GET", "/v1/jobs/{id}/result", "read", jobs.result, "Any"),
    Way("GET", "/v1/jobs/{id}/artifacts/{name:path}", "read", files.artifact,
        "application/octet-stream", query=("redirect",),
        headers=("Range", "If-None-Match", "If-Range")),
    Way("GET", "/v1/jobs/{id}/args", "read", jobs.arguments, "Any"),
    Way("POST", "/v1/blobs", "submit", files.upload, "Upload", "application/octet-stream",
        201),
    Way("POST", "/v1/tasks/{task}/jobs", "submit", submit.submit_task, "Job", "Any", 202,
        headers=("Idempotency-Key", "Prefer")),
    Way("GET", "/v1/tasks", "read", operate.tasks, "Tasks"),
    Way("GET", "/v1/events", "read", events.of_all, "Events",
        query=("after", "queue", "task", "type"), headers=("Last-Event-ID",)),
    Way("GET", "/v1/dead-letters", "read", dead.index, "DeadLetters",
        query=("group", "fingerprint", *_FILTERED[1:], *_PAGED)),
    Way("POST", "/v1/dead-letters/redrive", "operate", dead.redrive, "Count", "DeadFilter", 202),
    Way("POST", "/v1/dead-letters/discard", "operate", dead.discard, "Count", "DeadFilter", 202),
    Way("GET", "/v1/queues", "read", operate.queues, "Queues"),
    Way("GET", "/v1/queues/{q}", "read", operate.queue, "Queue"),
    Way("PATCH", "/v1/queues/{q}", "operate", operate.change_queue, "Queue", "QueueChange"),
    Way("GET", "/v1/limits", "read", limits.index, "Limits"),
    Way("PUT", "/v1/limits/{subject:path}", "operate", limits.put, "Limit", "LimitChange"),
    Way("DELETE", "/v1/limits/{subject:path}", "operate", limits.remove, "", status=204),
    Way("GET", "/v1/queues/{q}/scaling", "read", operate.scaling, "Scaling"),
    Way("GET", "/v1/schedules", "read", schedules.index, "Schedules"),
    Way("GET", "/v1/schedules/{name}", "read", schedules.show, "Schedule", query=("tenant",)),
    Way("PUT", "/v1/schedules/{name}", "operate", schedules.put, "Schedule", "ScheduleSpec",
        query=("tenant",), headers=("If-Match", "If-None-Match")),
    Way("DELETE", "/v1/schedules/{name}", "operate", schedules.remove, "", status=204,
        query=("tenant",), headers=("If-Match",)),
    Way("POST", "/v1/schedules/{name}/pause", "operate", schedules.pause, "Schedule",
        query=("tenant",)),
    Way("POST", "/v1/schedules/{name}/resume", "operate", schedules.resume, "Schedule",
        query=("tenant",)),
    Way("POST", "/v1/schedules/{name}/trigger", "submit", schedules.trigger, "Job", status=202,
        query=("tenant",), headers=("Idempotency-Key",)),
    Way("GET", "/v1/schedules/{name}/preview", "read", schedules.preview, "Ticks",
        query=("tenant", "n")),
    Way("GET", "/v1/workers", "read", operate.workers, "Workers"),
    Way("GET", "/metrics", "read", operate.metrics, "text/plain"),
)  # fmt: skip
