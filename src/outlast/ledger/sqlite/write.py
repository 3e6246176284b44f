"""The write side: each function runs inside the writer's transaction and decides nothing."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import apsw

from outlast.core.job import Lease, Pruned, Transition, Verdict
from outlast.core.limits import TOMBSTONE_TTL_US
from outlast.core.status import Status
from outlast.ledger.changes import are_distinct, is_plain_completion, values_of
from outlast.ledger.sqlite.claim import lease_of
from outlast.ledger.sqlite.connection import one, rows
from outlast.ledger.sqlite.statements import sql


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
    events: list[tuple[int, int, str, str]] = []
    for are_plain, alike in groupby(transitions, is_plain_completion):
        some = list(alike)
        work = _complete if are_plain and are_distinct(some) else _set_each
        for change, row in zip(some, work(db, some, now), strict=True):
            if row is None:
                verdicts.append(_refusal(db, change.id))
                continue
            if change.event:
                events.append((row[0], row[1], change.event, change.data))
            verdicts.append(Verdict(change.id, accepted=True, seq=row[1]))
    if events:
        db.execute(sql("insert_events"), {"batch": json.dumps(events), "now": now})
    return verdicts


def _complete(
    db: apsw.Connection, changes: Sequence[Transition], now: int
) -> list[tuple[int, int] | None]:
    """Complete jobs, each of them once, in one statement; return number and seq of each."""
    batch = json.dumps([(change.id, change.token, change.result) for change in changes])
    done = {row[2]: row for row in rows(db, sql("complete_all"), {"batch": batch, "now": now})}
    return [done.get(change.id) for change in changes]


def _set_each(
    db: apsw.Connection, changes: Sequence[Transition], now: int
) -> Iterator[tuple[Any, ...] | None]:
    for change in changes:
        row = one(db, sql("transition"), {**values_of(change), "now": now})
        moved = change.queue is not None or change.priority is not None
        if row is not None and (moved or change.target is Status.PENDING):
            db.execute(sql("line_join"), {"number": row[0]})
        yield row


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
    return [lease_of(row) for row in rows(db, sql("expired"), {"limit": limit})]


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
    """Forget ended jobs, leaving a tombstone each, and what else has had its time."""
    if ids is None:
        gone = rows(db, sql("prune_jobs"), {"before": before, "limit": limit})
    else:
        binds = {"ids": json.dumps(list(ids)), "before": before, "limit": limit}
        gone = rows(db, sql("prune_ids"), binds)
    gone.sort(key=lambda row: (row[2], row[0]))
    db.executemany(sql("prune_events"), [(row[0],) for row in gone])
    for row in gone:
        tombstone = json.dumps({"tenant": row[3]})
        put(db, ("tombstone", row[1], tombstone), None, TOMBSTONE_TTL_US, now)
    db.execute(sql("prune_paces"), {"now": now})
    keys = len(rows(db, sql("prune_keys"), {"now": now, "limit": limit}))
    docs = len(rows(db, sql("prune_docs"), {"now": now, "limit": limit}))
    return Pruned(len(gone), keys, tuple(row[1] for row in gone), docs)
