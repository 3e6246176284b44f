"""The states of a job and the arrows between them."""

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """Where a job stands; the last three are terminal and final."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    PROCESSING = "processing"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a job in this state never moves again by itself."""
        return self in TERMINAL


TERMINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
UNSTARTED: Final = frozenset({Status.SCHEDULED, Status.PENDING, Status.WAITING})

ARROWS: Final[dict[Status, frozenset[Status]]] = {
    Status.SCHEDULED: frozenset({Status.PENDING, Status.CANCELLED, Status.FAILED}),
    Status.PENDING: frozenset(
        {Status.PROCESSING, Status.SCHEDULED, Status.CANCELLED, Status.FAILED}
    ),
    Status.WAITING: frozenset({Status.PENDING, Status.SCHEDULED, Status.CANCELLED, Status.FAILED}),
    Status.PROCESSING: frozenset(
        {
            Status.PENDING,
            Status.SCHEDULED,
            Status.WAITING,
            Status.COMPLETED,
            Status.FAILED,
            Status.CANCELLED,
        }
    ),
    # A redrive is a new run of the same job, asked for by a person; only these two allow it.
    Status.FAILED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset({Status.PENDING}),
    Status.COMPLETED: frozenset(),
}
