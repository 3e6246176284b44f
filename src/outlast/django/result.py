"""How a job stands, in the words of Django's Tasks framework."""

from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils.timezone import make_naive
from pydantic_core import from_json

from outlast.core.errors import JobFailedError
from outlast.core.job import Event, JobRecord
from outlast.core.signals import JobCancelled
from outlast.core.status import Status
from outlast.django.framework import Task, TaskError, TaskResult, TaskResultStatus
from outlast.sdk.app import Outlast

STATUSES: Final = {
    Status.SCHEDULED: TaskResultStatus.READY,
    Status.PENDING: TaskResultStatus.READY,
    Status.WAITING: TaskResultStatus.READY,
    Status.PROCESSING: TaskResultStatus.RUNNING,
    Status.COMPLETED: TaskResultStatus.SUCCESSFUL,
    Status.FAILED: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}
_ENDS: Final = ("retrying", "heartbeat-lost", "failed", "cancelled")
_PAGE: Final = 1_000


def instant(us: int | None) -> datetime | None:
    """Write an instant as Django does: aware, or in local time where USE_TZ is off."""
    if us is None:
        return None
    aware = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    return aware if settings.USE_TZ else make_naive(aware)


async def result_of(app: Outlast, job: JobRecord, task: Task, alias: str) -> TaskResult:
    """Read all that the framework wants to know of a job."""
    called = from_json(await app.blobs.fetch(job.args))
    starts = await _events(app, job, "started")
    ends = [event for kind in _ENDS for event in await _events(app, job, kind)]
    result = TaskResult(
        task=task,
        id=job.id,
        status=STATUSES[job.status],
        enqueued_at=instant(job.submitted_at),
        started_at=instant(starts[0].at if starts else None),
        finished_at=instant(job.finished_at),
        last_attempted_at=instant(starts[-1].at if starts else None),
        args=called["args"],
        kwargs=called["kwargs"],
        backend=alias,
        errors=[_error(event) for event in sorted(ends, key=lambda event: event.seq)],
        worker_ids=[from_json(event.data)["worker"] for event in starts],
    )
    if job.status is Status.COMPLETED:
        value = from_json(await app.blobs.fetch(job.result or "null"))
        object.__setattr__(result, "_return_value", value)
    return result


async def _events(app: Outlast, job: JobRecord, kind: str) -> list[Event]:
    return await app.ledger.history(job.id, limit=_PAGE, type=kind)


def _error(event: Event) -> TaskError:
    data = from_json(event.data)
    error: dict[str, Any] = data.get("error") or {}
    kind = JobCancelled if event.type == "cancelled" else JobFailedError
    said = f"{error.get('type', kind.__name__)}: {error.get('message', data.get('reason', ''))}"
    return TaskError(
        # What ends a job from outside, as a lost worker does, was not raised anywhere.
        exception_class_path=error.get("class") or f"{kind.__module__}.{kind.__name__}",
        traceback=error.get("traceback") or said,
    )
