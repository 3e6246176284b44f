"""What an insert's outcome means to who asked: the same error by every way in."""

from outlast.core.errors import (
    DuplicateJobError,
    KeyReusedError,
    OutlastError,
    QueueFullError,
    QuotaError,
)
from outlast.core.job import Inserted, NewJob

RETRY_AFTER_S = 5


def refusal(
    job: NewJob, made: Inserted, *, retry_after: int = RETRY_AFTER_S, draining: bool = False
) -> OutlastError | None:
    """Return the error that the outcome stands for; None when the job, or one like it, is there."""
    match made.outcome:
        case "conflict":
            return KeyReusedError(
                f"idempotency key {job.key!r:.80} came before with another request, job {made.id}",
                hint="use a new key for a new request",
                job_id=made.id,
            )
        case "rejected":
            return DuplicateJobError(
                f"task {job.task}: expected no other such job, found {made.id}",
                hint="wait for it, or cancel it",
                job_id=made.id,
            )
        case "full":
            return QueueFullError(
                f"queue {job.queue} is being drained: it takes no new jobs"
                if draining
                else f"queue {job.queue}: expected fewer than {job.max_depth} waiting jobs",
                hint="try again later",
                retry_after=retry_after,
                queue=job.queue,
                max_depth=job.max_depth,
            )
        case "quota":
            return QuotaError(
                f"tenant {job.tenant}: as many of its jobs wait as may",
                hint="try again later",
                retry_after=retry_after,
                tenant=job.tenant,
            )
        case _:
            return None
