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

_CANCEL: Final = Lease._fields.index("cancel_requested")


def record_of(row: Row) -> JobRecord:
    """Make a record of the columns that a page reads."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["status"] = Status(values["status"])
    return JobRecord(**values)


def lease_of(row: Row) -> Lease:
    """Make a lease of the columns that the claim and the reaper read, which are its own."""
    return Lease._make((*row[:_CANCEL], bool(row[_CANCEL]), *row[_CANCEL + 1 :]))
