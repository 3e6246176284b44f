"""A transition, and an insert, as the values that a store's statements take."""

from collections.abc import Sequence
from typing import Any, Final

from outlast.core.job import NewJob, Transition
from outlast.core.status import TERMINAL, Status

REFUSED: Final = frozenset({"conflict", "full", "quota", "rejected"})
_BACK: Final = frozenset({Status.PENDING, Status.SCHEDULED, Status.WAITING})
_MORE: Final = Transition._fields.index("result") + 1  # what a completion leaves as it is
_NOTHING_MORE: Final = Transition("", Status.PROCESSING, None, None, "")[_MORE:]


def is_plain(job: NewJob, quota: int | None) -> bool:
    """Whether nothing has to be looked up before a job is inserted."""
    return job.key is None and job.sole is None and job.max_depth is None and quota is None


def is_plain_completion(change: Transition) -> bool:
    """Whether the statement for the most frequent transition says all of this one."""
    return (
        change.target is Status.COMPLETED
        and change.source is Status.PROCESSING
        and change.token is not None
        and change[_MORE:] == _NOTHING_MORE
    )


def are_distinct(changes: Sequence[Transition]) -> bool:
    """Whether no job is in it twice: in one statement, nobody would be the second."""
    return len({change.id for change in changes}) == len(changes)


def values_of(change: Transition) -> dict[str, Any]:
    """Return what `transition.sql` takes, but for the instant."""
    target = change.target or change.source
    return {
        "id": change.id,
        "event": change.event,
        "source": change.source,
        "token": change.token,
        "target": target,
        "attempt": change.attempt,
        "lost": change.lost,
        "rerun": change.rerun,
        "delay_us": change.delay_us if change.target in _BACK else None,
        "run_at": change.run_at_us,
        "ends": change.target in TERMINAL,
        "cancel": change.cancel,
        "discard": change.discard,
        "result": change.result,
        "progress": change.progress,
        "error": change.error,
        "priority": change.priority,
        "queue": change.queue,
        "max_attempts": change.max_attempts,
        "args": change.args,
        "cursor": change.cursor,
        "artifact": change.artifact,
        "unless_cancelled": change.unless_cancelled,
        "when": change.when,
    }
