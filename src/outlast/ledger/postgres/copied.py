"""Many jobs at once, by COPY: a third of the work that an INSERT is, for both sides."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import asyncpg

from outlast.core.job import Inserted, NewJob
from outlast.ledger.postgres.connection import Session
from outlast.ledger.rows import Row

COPIED_MIN: Final = 500  # of fewer, asking for their numbers first costs more than it brings
_JOB: Final = (
    "number", "id", "status", "queue", "priority", "max_attempts", "submitted_at", "run_at",
    "expires_at", "deadline_us", "deadline_at", "timeout_us", "tenant", "task", "concurrency_key",
    "key", "sole_key", "tags", "notify", "args",
)  # fmt: skip
_EVENT: Final = ("job", "seq", "type", "at", "data")


async def copied(db: Session, jobs: Sequence[NewJob], now: int | None) -> list[Inserted] | None:
    """Insert jobs of which nothing has to be looked up; None, and nothing, if an ID is there."""
    async with db.transaction(), db.all_or_none() as undo:
        now, numbers = await db.sole("numbers", now=now, count=len(jobs))
        numbered = list(zip(numbers, jobs, strict=True))
        try:
            await db.copy("job", _JOB, (_row(number, job, now) for number, job in numbered))
        except asyncpg.UniqueViolationError:
            await undo()
            return None
        await db.copy("event", _EVENT, _events(numbered, now))
    return [Inserted(job.id, "created", now) for job in jobs]


def _row(number: int, job: NewJob, now: int) -> Row:
    delay = job.delay_from(now)
    return (
        number,
        job.id,
        "scheduled" if delay > 0 else "pending",
        job.queue,
        job.priority,
        job.max_attempts,
        now,
        now + max(0, delay),
        _after(now, job.expires_in_us),
        job.deadline_us,
        _after(now, job.deadline_us),
        job.timeout_us,
        job.tenant,
        job.task,
        job.concurrency_key or "",
        job.key,
        None if job.sole is None else job.sole.key,
        job.tags,
        job.notify,
        job.args,
    )


def _after(now: int, us: int | None) -> int | None:
    return None if us is None else now + us


def _events(numbered: Sequence[tuple[int, NewJob]], now: int) -> Iterator[Row]:
    for number, job in numbered:
        data = _told(job.queue, job.task, delayed=job.delay_from(now) > 0)
        yield number, 1, "submitted", now, data


@lru_cache(maxsize=1_024)
def _told(queue: str, task: str, *, delayed: bool) -> str:
    return json.dumps({"queue": queue, "task": task, "delayed": delayed})
