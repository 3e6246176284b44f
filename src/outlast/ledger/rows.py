"""What a store's rows mean: which columns make a job's record, and which a lease."""

from typing import Any, Final

from outlast.core.job import JobRecord, Lease
from outlast.core.status import Status

Row = tuple[Any, ...]

# As each store's `find.sql` selects them.
COLUMNS: Final = (
    "id",
    "number",
    "tenant",
    "task",
    "queue",
    "status",
    "priority",
    "attempt",
    "max_attempts",
    "token",
    "lost",
    "run",
    "seq",
    "args",
    "submitted_at",
    "run_at",
    "started_at",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
    "timeout_us",
    "deadline_us",
    "deadline_at",
    "holder",
    "concurrency_key",
    "key",
    "tags",
    "notify",
    "progress",
    "result",
    "error",
    "artifacts",
    "cursor",
    "sole_key",
)


def record_of(row: Row) -> JobRecord:
    """Make a record of the columns that a page reads."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["status"] = Status(values["status"])
    return JobRecord(**values)


def lease_of(row: Row) -> Lease:
    """Make a lease of the columns that the claim and the reaper read."""
    (
        id_,
        task,
        queue,
        args,
        token,
        attempt,
        max_attempts,
        lost,
        run,
        priority,
        timeout_us,
        cancel_requested,
        key,
        tenant,
        holder,
        submitted_at,
        deadline_at,
    ) = row
    return Lease(
        id_,
        task,
        queue,
        args,
        token,
        attempt,
        max_attempts,
        lost,
        run,
        priority,
        timeout_us,
        bool(cancel_requested),
        key,
        tenant,
        holder,
        submitted_at,
        deadline_at,
    )
