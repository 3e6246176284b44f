"""The write side: each function runs inside the writer's transaction and decides nothing."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, Final, TypeVar

import apsw

from outlast.core.job import Inserted, Lease, NewJob, Pruned, Transition, Verdict, Want
from outlast.core.status import TERMINAL, Status
from outlast.ledger.sqlite.connection import all_or_none, one, rows, sole
from outlast.ledger.sqlite.statements import fragments, sql

T = TypeVar("T")
CHUNK: Final = 32  # rows a statement
_BACK: Final = frozenset({Status.PENDING, Status.SCHEDULED, Status.WAITING})


def insert(db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
    """Insert each job with its first event, unless its key or its queue's depth says no."""
    made: list[Inserted] = []
    for plain, some in groupby(jobs, _is_plain):
        if plain:
            for chunk in batched(some, CHUNK):
                made += _insert_chunk(db, chunk, now)
        else:
            made += [_insert_one(db, job, now) for job in some]
    return made


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut an iterable into tuples of this size; the last one may be shorter."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some


def _is_plain(job: NewJob) -> bool:
    """Whether nothing has to be looked up before."""
    return job.key is None and job.max_depth is None


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
        if any(outcome.outcome in {"conflict", "full"} for outcome in outcomes):
            undo()
            outcomes = [
                o if o.outcome in {"conflict", "full"} else Inserted(o.id, "aborted", now)
                for o in outcomes
            ]
    return outcomes


def _insert_one(db: apsw.Connection, job: NewJob, now: int) -> Inserted:
    if job.key is not None:
        found = one(db, sql("key_find"), {"tenant": job.tenant, "key": job.key, "now": now})
        if found is not None:
            same = found[0] == job.fingerprint
            return Inserted(found[1], "duplicate" if same else "conflict", found[2])
    if job.max_depth is not None:
        (depth,) = sole(db, sql("depth"), {"queue": job.queue, "limit": job.max_depth})
        if depth >= job.max_depth:
            # A repeat of what was let in before is no new job, however full the queue is by now.
            known = one(db, sql("submitted_at"), {"id": job.id})
            return (
                Inserted(job.id, "duplicate", known[0]) if known else Inserted(job.id, "full", now)
            )
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
    if job.key is not None:
        db.execute(
            sql("key_put"),
            {
                "tenant": job.tenant,
                "key": job.key,
                "fingerprint": job.fingerprint,
                "job_id": job.id,
                "now": now,
                "expires_at": now + job.key_ttl_us,
            },
        )
    return Inserted(job.id, "created", now)


def claim(db: apsw.Connection, want: Want, now: int) -> list[Lease]:
    """Lease runnable jobs queue by queue, each with its `started` event."""
    if one(db, sql("holder_alive"), {"holder": want.holder}) is None:
        return []
    paused = {key for (key,) in db.execute(sql("paused"))}
    claimed: list[tuple[Any, ...]] = []
    for queue in want.queues:
        if queue in paused:
            continue
        room = want.limit - len(claimed)
        if room <= 0:
            break
        taken = rows(
            db, sql("claim"), {"holder": want.holder, "queue": queue, "now": now, "limit": room}
        )
        # RETURNING promises no order.
        taken.sort(key=lambda row: (-row[11], row[0]))
        claimed += taken
    if claimed:
        tail = f'"worker": {json.dumps(want.holder)}}}'
        db.executemany(
            sql("insert_event"),
            [
                (
                    row[0],
                    row[1],
                    "started",
                    now,
                    f'{{"attempt": {row[7]}, "token": {row[6]}, {tail}',
                )
                for row in claimed
            ],
        )
    return [_lease(row[2:]) for row in claimed]


def _lease(row: tuple[Any, ...]) -> Lease:
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
        # A damaged text fails its own job, not the claim of its neighbours.
        args.decode("utf-8", "surrogateescape"),
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


def extend(db: apsw.Connection, holders: Sequence[str], ttl_us: int, now: int) -> list[str]:
    """Renew what can be renewed; return the holders that can't."""
    until = now + ttl_us if ttl_us else 0
    return [
        holder
        for holder in holders
        if one(db, sql("extend"), {"holder": holder, "until": until}) is None
    ]


def commit(db: apsw.Connection, transitions: Sequence[Transition], now: int) -> list[Verdict]:
    """Compare and set each, with its event."""
    verdicts: list[Verdict] = []
    events: list[tuple[int, int, str, int, str]] = []
    complete = sql("complete")
    for change in transitions:
        if _is_plain_completion(change):
            row = one(
                db,
                complete,
                {"id": change.id, "token": change.token, "now": now, "result": change.result},
            )
        else:
            row = one(db, sql("transition"), _binds(change, now))
        if row is None:
            verdicts.append(_refusal(db, change.id))
            continue
        if change.event:
            events.append((row[0], row[1], change.event, now, change.data))
        verdicts.append(Verdict(change.id, accepted=True, seq=row[1]))
    if events:
        db.executemany(sql("insert_event"), events)
    return verdicts


def _is_plain_completion(change: Transition) -> bool:
    """Whether the short statement for the most frequent transition says all of this one."""
    more = (change.attempt, change.lost, change.error, change.progress, change.artifact)
    moved = (change.priority, change.queue, change.max_attempts, change.cursor)
    waits = change.when is not None
    return (
        change.target is Status.COMPLETED
        and change.source is Status.PROCESSING
        and change.token is not None
        and more == (None, None, None, None, None)
        and moved == (None, None, None, None)
        and not (
            change.rerun or change.cancel or change.discard or change.unless_cancelled or waits
        )
    )


def _binds(change: Transition, now: int) -> dict[str, Any]:
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
        "run_at": now + change.delay_us if change.target in _BACK else None,
        "ends": change.target in TERMINAL,
        "now": now,
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


def _refusal(db: apsw.Connection, job_id: str) -> Verdict:
    row = one(db, sql("standing"), {"id": job_id})
    if row is None:
        return Verdict(job_id, accepted=False)
    return Verdict(
        job_id, accepted=False, status=Status(row[0]), token=row[1], cancel_requested=bool(row[2])
    )


def expired(db: apsw.Connection, limit: int, now: int) -> list[Lease]:
    """Give up every worker whose time is up, and return the leases that no living worker holds."""
    db.execute(sql("give_up"), {"now": now})
    return [_lease(row) for row in rows(db, sql("expired"), {"limit": limit})]


def put(
    db: apsw.Connection,
    record: tuple[str, str, str | None],
    version: int | None,
    ttl_us: int | None,
    now: int,
) -> bool:
    """Write or remove a record if its version is the expected one."""
    kind, key, doc = record
    if version is not None:
        row = one(db, sql("doc_version"), {"kind": kind, "key": key})
        if (row[0] if row else 0) != version:
            return False
    if doc is None:
        db.execute(sql("doc_remove"), {"kind": kind, "key": key})
    else:
        lease_until = None if ttl_us is None else now + ttl_us
        db.execute(
            sql("doc_put"), {"kind": kind, "key": key, "doc": doc, "lease_until": lease_until}
        )
    return True


def prune(
    db: apsw.Connection, before: int, limit: int, ids: Sequence[str] | None, now: int
) -> Pruned:
    """Forget ended jobs and their history, leaving a tombstone each, and keys past their time."""
    if ids is None:
        gone = rows(db, sql("prune_jobs"), {"before": before, "limit": limit})
    else:
        gone = rows(db, sql("prune_ids"), {"ids": json.dumps(list(ids))})
    gone.sort(key=lambda row: (row[2], row[0]))
    db.executemany(sql("prune_events"), [(row[0],) for row in gone])
    for row in gone:
        put(db, ("tombstone", row[1], "{}"), None, None, now)
    keys = len(rows(db, sql("prune_keys"), {"now": now, "limit": limit}))
    return Pruned(len(gone), keys, tuple(row[1] for row in gone))
