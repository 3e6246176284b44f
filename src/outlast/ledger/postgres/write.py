"""The write side besides insert and claim."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from outlast.core.job import Lease, Pruned, Transition, Verdict
from outlast.core.limits import TOMBSTONE_TTL_US
from outlast.core.status import Status
from outlast.ledger.changes import is_plain_completion, values_of
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.limits import KINDS
from outlast.ledger.postgres.statements import fragments
from outlast.ledger.rows import lease_of

_SHORT: Final = ("id", "token", "result", "event", "data", "place")


async def commit(db: Session, transitions: Sequence[Transition], now: int | None) -> list[Verdict]:
    """Compare and set each, with its event."""
    waves = list(_waves(transitions))
    if len(waves) == 1:
        return await _commit_wave(db, waves[0], now)
    async with db.transaction():
        return [verdict for wave in waves for verdict in await _commit_wave(db, wave, now)]


def _waves(transitions: Sequence[Transition]) -> Iterator[list[Transition]]:
    """Cut where a job comes again: a statement changes a row once."""
    wave: list[Transition] = []
    seen: set[str] = set()
    for change in transitions:
        if change.id in seen:
            yield wave
            wave, seen = [], set()
        wave.append(change)
        seen.add(change.id)
    if wave:
        yield wave


async def _commit_wave(db: Session, wave: Sequence[Transition], now: int | None) -> list[Verdict]:
    # Rows are locked in one order by everybody, so that nobody waits in a circle.
    ordered = sorted(enumerate(wave), key=lambda one: one[1].id)
    if all(is_plain_completion(change) for change in wave):
        rows = [(c.id, c.token, c.result, c.event, c.data, place) for place, c in ordered]
        values = dict(zip(_SHORT, zip(*rows, strict=True), strict=True))
        done = await db.rows("complete", now=now, **values)
    else:
        done = await db.rows("transition", now=now, **_columns(ordered))
    seqs: dict[int, int] = dict(done)
    refused = [change.id for place, change in enumerate(wave) if place not in seqs]
    standing = await _standing(db, refused) if refused else {}
    return [
        Verdict(change.id, accepted=True, seq=seqs[place])
        if place in seqs
        else standing.get(change.id) or Verdict(change.id, accepted=False)
        for place, change in enumerate(wave)
    ]


def _columns(ordered: Sequence[tuple[int, Transition]]) -> dict[str, list[Any]]:
    rows = [{**values_of(c), "data": c.data, "place": place} for place, c in ordered]
    return {name: [row[name] for row in rows] for name in rows[0]}


async def _standing(db: Session, ids: list[str]) -> dict[str, Verdict]:
    return {
        id_: Verdict(
            id_, accepted=False, status=Status(status), token=token, cancel_requested=is_asked
        )
        for id_, status, token, is_asked in await db.rows("standing", ids=ids)
    }


async def extend(db: Session, holders: Sequence[str], ttl_us: int, now: int | None) -> list[str]:
    """Renew what can be renewed; return the holders that can't."""
    rows = await db.rows("extend", holders=list(holders), ttl_us=ttl_us, now=now)
    renewed = {key for (key,) in rows}
    return [holder for holder in holders if holder not in renewed]


async def expired(db: Session, limit: int, now: int | None) -> tuple[list[Lease], bool]:
    """Give up every worker whose time is up; return what no living one holds, and if any was."""
    given_up = await db.rows("give_up", now=now)
    return [lease_of(row) for row in await db.rows("expired", limit=limit)], bool(given_up)


async def put(
    db: Session,
    record: tuple[str, str, str | None],
    version: int | None,
    ttl_us: int | None,
    now: int | None,
) -> bool:
    """Write or remove a record if its version is the expected one."""
    if record[0] not in KINDS:
        return await _put(db, record, version, ttl_us, now)
    # What limits claims changes between them, never beside one.
    async with db.transaction():
        await db.rows("lock", names=["limits"])
        return await _put(db, record, version, ttl_us, now)


async def _put(
    db: Session,
    record: tuple[str, str, str | None],
    version: int | None,
    ttl_us: int | None,
    now: int | None,
) -> bool:
    kind, key, doc = record
    parts = fragments("doc_put")
    place = {"kind": kind, "key": key}
    if doc is None:
        done = await db.rows_of(parts["removed"], {**place, "version": version})
        if done or version is None:
            return True
        return version == 0 and not await db.rows("doc_version", **place)
    how = "any" if version is None else "changed" if version else "new"
    values = {**place, "doc": doc, "ttl_us": ttl_us, "now": now, "version": version}
    return bool(await db.rows_of(parts[how], values))


async def prune(
    db: Session, before: int, limit: int, ids: Sequence[str] | None, now: int | None
) -> Pruned:
    """Forget ended jobs, leaving a tombstone each, and what else has had its time."""
    async with db.transaction():
        gone = await db.rows(
            "prune_jobs",
            before=before,
            limit=limit,
            ids=None if ids is None else list(ids),
            ttl_us=TOMBSTONE_TTL_US,
            now=now,
        )
        ((keys, docs),) = await db.rows("prune_rest", limit=limit, now=now)
    return Pruned(len(gone), keys, tuple(id_ for (id_,) in gone), docs)
