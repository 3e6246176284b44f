"""What the reference ledger knows of one row: how it starts, changes, matches, and is leased."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from outlast.core.job import Doc, Filter, JobRecord, Moment, NewJob, Transition
from outlast.core.limits import ANY_TIME
from outlast.core.status import UNSTARTED, Status

T = TypeVar("T")

_BACK = frozenset({Status.SCHEDULED, Status.PENDING, Status.WAITING})
_PASSING = frozenset({"tombstone", "upload"})
_UNSTARTED = frozenset({Status.SCHEDULED, Status.PENDING})


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an idempotency key stands for, and until when."""

    fingerprint: str
    job_id: str
    submitted_at: int
    expires_at: int


def first_row(job: NewJob, number: int, now: int) -> JobRecord:
    """Make the row of a new job: scheduled when it is to run later, otherwise pending."""
    run_at = job.run_at_us if job.run_at_us is not None else now + job.delay_us
    return JobRecord(
        id=job.id,
        number=number,
        tenant=job.tenant,
        task=job.task,
        queue=job.queue,
        status=Status.SCHEDULED if run_at > now else Status.PENDING,
        priority=job.priority,
        attempt=0,
        max_attempts=job.max_attempts,
        token=0,
        lost=0,
        run=1,
        seq=1,
        args=job.args,
        submitted_at=now,
        run_at=max(run_at, now),
        started_at=None,
        finished_at=None,
        expires_at=None if job.expires_in_us is None else now + job.expires_in_us,
        cancel_requested_at=None,
        timeout_us=job.timeout_us,
        deadline_us=job.deadline_us,
        deadline_at=None if job.deadline_us is None else now + job.deadline_us,
        holder=None,
        concurrency_key=job.concurrency_key,
        key=job.key,
        tags=job.tags,
        notify=job.notify,
        progress=None,
        result=None,
        error=None,
        artifacts="[]",
        cursor=None,
        sole_key=None if job.sole is None else job.sole.key,
    )


def changed(row: JobRecord, change: Transition, now: int) -> JobRecord:
    """Return the row after an accepted transition."""
    status = row.status if change.target is None else change.target
    after = replace(
        row,
        status=status,
        seq=row.seq + 1 if change.event else row.seq,
        args=_either(change.args, row.args),
        cursor=_either(change.cursor, row.cursor),
        attempt=_either(change.attempt, row.attempt),
        lost=_either(change.lost, row.lost),
        error=_either(change.error, None if status is Status.COMPLETED else row.error),
        progress=_either(change.progress, row.progress),
        result=_either(change.result, row.result),
        priority=_either(change.priority, row.priority),
        queue=_either(change.queue, row.queue),
        max_attempts=_either(change.max_attempts, row.max_attempts),
        artifacts=_with_artifact(row.artifacts, change.artifact),
    )
    if change.target in _BACK:
        after = replace(after, run_at=_either(change.run_at_us, now + change.delay_us))
    if change.target is not None and change.target.terminal:
        after = replace(after, finished_at=now)
    if status is not Status.PROCESSING:
        after = replace(after, holder=None)
    if change.cancel:
        after = replace(after, cancel_requested_at=now)
    if change.rerun:
        after = replace(
            after,
            run=row.run + 1,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            progress=None,
            result=None,
            deadline_at=None if row.deadline_us is None else now + row.deadline_us,
        )
    return after


def _either(new: T | None, old: T) -> T:
    return old if new is None else new


def _with_artifact(artifacts: str, artifact: str | None) -> str:
    """Append the artifact, in place of an older one of the same name."""
    if artifact is None:
        return artifacts
    new = json.loads(artifact)
    kept = [old for old in json.loads(artifacts) if old["name"] != new["name"]]
    return json.dumps([*kept, new])


def ended(found: list[JobRecord], after: tuple[int, int]) -> list[JobRecord]:
    """Return those that have ended, in the order of their ends, after a place in it."""
    placed = sorted(
        ((row.finished_at, row.number), row) for row in found if row.finished_at is not None
    )
    return [row for at, row in placed if at > after]


def passed(docs: Iterable[Doc], now: int) -> list[Doc]:
    """Return the records that are forgotten when their time is over, as it is, oldest first."""
    over = [doc for doc in docs if doc.kind in _PASSING and _ends(doc) <= now]
    return sorted(over, key=lambda doc: (_ends(doc), doc.kind, doc.key))


def _ends(doc: Doc) -> int:
    return ANY_TIME if doc.lease_until is None else doc.lease_until


def taken(row: JobRecord, holder: str, now: int) -> JobRecord:
    """Return the row after a claim."""
    return replace(
        row,
        status=Status.PROCESSING,
        token=row.token + 1,
        attempt=row.attempt + 1,
        seq=row.seq + 1,
        holder=holder,
        started_at=now,
    )


def place(row: JobRecord) -> tuple[int, int]:
    """Return what pending jobs of a queue are claimed in the order of."""
    return (-row.priority, row.number)


def started(row: JobRecord) -> str:
    """Return the data of a claim's event."""
    return json.dumps({"attempt": row.attempt, "token": row.token, "worker": row.holder})


def fingerprint(row: JobRecord) -> str | None:
    """Return the fingerprint of the row's error, if it has one."""
    if row.error is None:
        return None
    found: str | None = json.loads(row.error).get("fingerprint")
    return found


def is_ahead(row: JobRecord, mark: JobRecord) -> bool:
    """Whether the row would be claimed before the other one, of the same queue."""
    return row.status is Status.PENDING and row.queue == mark.queue and place(row) < place(mark)


def matches(row: JobRecord, where: Filter) -> bool:
    """Whether the row alone satisfies every field of the filter that is set."""
    return all(
        (
            where.ids is None or row.id in where.ids,
            where.tenant in {None, row.tenant},
            where.status in {None, row.status},
            where.queue in {None, row.queue},
            where.task in {None, row.task},
            where.tag is None or where.tag in json.loads(row.tags),
            where.text is None or _mentions(row, where.text),
            where.holder is None
            or (row.status is Status.PROCESSING and row.holder == where.holder),
            not where.cancel_requested or row.cancel_requested_at is not None,
            where.submitted_after is None or row.submitted_at >= where.submitted_after,
            where.submitted_before is None or row.submitted_at < where.submitted_before,
            where.due_before is None
            or (row.status is Status.SCHEDULED and row.run_at <= where.due_before),
            where.expired_before is None or _never_started(row, where.expired_before),
            where.overdue_before is None
            or (
                row.deadline_at is not None
                and row.deadline_at <= where.overdue_before
                and row.status in UNSTARTED
            ),
            where.fingerprint is None or fingerprint(row) == where.fingerprint,
        )
    )


def is_time(row: JobRecord, when: Moment | None, now: int) -> bool:
    """Whether this moment of the job has come; one that it does not have never comes."""
    if when is None:
        return True
    moments = {
        "run_at": row.run_at,
        "expires_at": row.expires_at,
        "deadline_at": row.deadline_at,
    }
    moment = moments[when]
    return moment is not None and moment <= now


def _never_started(row: JobRecord, moment: int) -> bool:
    return row.expires_at is not None and row.expires_at <= moment and row.status in _UNSTARTED


def _mentions(row: JobRecord, text: str) -> bool:
    """Search without regard to the case of ASCII letters, as `bytes.lower` has it."""
    wanted = text.encode().lower()
    fields = (row.id, row.task, row.args, row.error or "")
    return any(wanted in field.encode().lower() for field in fields)
