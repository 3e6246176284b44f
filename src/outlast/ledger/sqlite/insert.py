"""How jobs come in: each with its first event, unless its key, its intention or a bound says no."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final, TypeVar

import apsw

from outlast.core import transition
from outlast.core.job import Inserted, NewJob
from outlast.core.share import Limits
from outlast.core.status import Status
from outlast.core.unique import Sole
from outlast.ledger.changes import REFUSED, is_plain
from outlast.ledger.sqlite.claim import looked_up
from outlast.ledger.sqlite.connection import all_or_none, one, sole
from outlast.ledger.sqlite.statements import fragments, sql
from outlast.ledger.sqlite.write import commit

T = TypeVar("T")
CHUNK: Final = 32  # rows a statement


def insert(db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
    """Insert each job with its first event, unless its key, a bound or its intention says no."""
    made: list[Inserted] = []
    limits = Limits(lambda subject: looked_up(db, subject))
    quotas = {
        tenant: limits.of(f"tenant:{tenant}").max_depth
        for tenant in {job.tenant for job in jobs if job.tenant}
    }
    for plain, some in groupby(jobs, lambda job: is_plain(job, quotas.get(job.tenant))):
        if plain:
            for chunk in batched(some, CHUNK):
                made += _insert_chunk(db, chunk, now)
        else:
            made += [_insert_one(db, job, now, quotas.get(job.tenant)) for job in some]
    return made


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut an iterable into tuples of this size; the last one may be shorter."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some


def _insert_chunk(db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
    if len(jobs) == 1:
        return [_insert_one(db, jobs[0], now)]
    parts = fragments("insert_jobs")
    values: list[object] = []
    for job in jobs:
        values += _row(job, now)
    try:
        db.execute(f"{parts['head']} {', '.join([parts['row']] * len(jobs))}", values)
    except apsw.ConstraintError:
        # An ID that is there already; the statement left nothing, so each job for itself.
        return [_insert_one(db, job, now) for job in jobs]
    db.execute(parts["events"], {"last": db.last_insert_rowid(), "count": len(jobs)})
    return [Inserted(job.id, "created", now) for job in jobs]


def _row(job: NewJob, now: int) -> tuple[object, ...]:
    """Return what `insert_jobs.sql` binds for a job."""
    run_at = job.run_at_us if job.run_at_us is not None else now + job.delay_us
    delayed = run_at > now
    return (
        job.id,
        "scheduled" if delayed else "pending",
        job.queue,
        job.priority,
        job.max_attempts,
        now,
        run_at if delayed else now,
        None if job.expires_in_us is None else now + job.expires_in_us,
        job.deadline_us,
        None if job.deadline_us is None else now + job.deadline_us,
        job.timeout_us,
        job.tenant,
        job.task,
        job.concurrency_key,
        job.tags,
        job.notify,
        job.args,
    )


def insert_all(db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
    """Insert all or none."""
    with all_or_none(db) as undo:
        outcomes = insert(db, jobs, now)
        if any(outcome.outcome in REFUSED for outcome in outcomes):
            undo()
            outcomes = [
                o if o.outcome in REFUSED else Inserted(o.id, "aborted", now) for o in outcomes
            ]
    return outcomes


def _insert_one(db: apsw.Connection, job: NewJob, now: int, quota: int | None = None) -> Inserted:
    if job.key is not None:
        found = one(db, sql("key_find"), {"tenant": job.tenant, "key": job.key, "now": now})
        if found is not None:
            same = found[0] == job.fingerprint
            return Inserted(found[1], "duplicate" if same else "conflict", found[2])
    if job.sole is not None:
        there = _another(db, job, job.sole, now)
        if there is not None:
            return there
    over = _over(db, job, quota)
    if over is not None:
        # A repeat of what was let in before is no new job, however full the queue is by now.
        known = one(db, sql("submitted_at"), {"id": job.id})
        return Inserted(job.id, "duplicate", known[0]) if known else Inserted(job.id, over, now)
    run_at = job.run_at_us if job.run_at_us is not None else now + job.delay_us
    delayed = run_at > now
    row = one(
        db,
        sql("insert_job"),
        {
            "id": job.id,
            "status": "scheduled" if delayed else "pending",
            "queue": job.queue,
            "priority": job.priority,
            "max_attempts": job.max_attempts,
            "now": now,
            "run_at": run_at if delayed else now,
            "expires_at": None if job.expires_in_us is None else now + job.expires_in_us,
            "deadline_us": job.deadline_us,
            "timeout_us": job.timeout_us,
            "tenant": job.tenant,
            "task": job.task,
            "concurrency_key": job.concurrency_key,
            "key": job.key,
            "sole_key": None if job.sole is None else job.sole.key,
            "tags": job.tags,
            "notify": job.notify,
            "args": job.args,
        },
    )
    if row is None:
        (submitted_at,) = sole(db, sql("submitted_at"), {"id": job.id})
        return Inserted(job.id, "duplicate", submitted_at)
    data = json.dumps({"queue": job.queue, "task": job.task, "delayed": delayed})
    db.execute(sql("insert_event"), (row[0], 1, "submitted", now, data))
    _remember(db, job, job.id, now, now)
    return Inserted(job.id, "created", now)


def _over(db: apsw.Connection, job: NewJob, quota: int | None) -> str | None:
    """Return the bound that lets no further job wait: the queue's, or the tenant's."""
    if job.max_depth is not None:
        (depth,) = sole(db, sql("depth"), {"queue": job.queue, "limit": job.max_depth})
        if depth >= job.max_depth:
            return "full"
    if quota is not None:
        (depth,) = sole(db, sql("depth_of_tenant"), {"tenant": job.tenant, "limit": quota})
        if depth >= quota:
            return "quota"
    return None


def _remember(db: apsw.Connection, job: NewJob, job_id: str, submitted_at: int, now: int) -> None:
    """Let the job's idempotency key, if it has one, stand for what it got."""
    if job.key is not None:
        db.execute(
            sql("key_put"),
            {
                "tenant": job.tenant,
                "key": job.key,
                "fingerprint": job.fingerprint,
                "job_id": job_id,
                "submitted_at": submitted_at,
                "expires_at": now + job.key_ttl_us,
            },
        )


def _another(db: apsw.Connection, job: NewJob, rule: Sole, now: int) -> Inserted | None:
    """Return what a job of the same intention means for a new one; None when none counts."""
    known = one(db, sql("submitted_at"), {"id": job.id})
    if known:
        return Inserted(job.id, "duplicate", known[0])
    found = [
        row
        for status in rule.counting
        if (row := one(db, sql("sole_find"), {"key": rule.key, "status": status})) is not None
    ]
    # Of each state the newest: if that one is too old, so are the others.
    recent = [row for row in found if rule.is_recent(row[3], now)]
    if not recent:
        return None
    _, job_id, status, submitted_at = max(recent)
    if rule.on == "replace":
        delay = rule.put_off_us(job.delay_from(now), submitted_at, now)
        commit(db, [transition.replaced(job_id, Status(status), job, delay)], now)
    if rule.on != "reject":
        _remember(db, job, job_id, submitted_at, now)
    return Inserted(job_id, rule.outcome, submitted_at)
