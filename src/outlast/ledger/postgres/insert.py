"""How jobs come in: each with its first event, unless its key, its intention or a bound says no."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from outlast.core import transition
from outlast.core.job import Inserted, NewJob
from outlast.core.status import Status
from outlast.core.unique import Sole
from outlast.ledger.changes import REFUSED, is_plain
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.copied import COPIED_MIN, copied
from outlast.ledger.postgres.limits import limits_of
from outlast.ledger.postgres.write import commit

CHUNK: Final = 2_000  # rows a statement
Quotas = Mapping[str, int | None]


async def insert(db: Session, jobs: Sequence[NewJob], now: int | None) -> list[Inserted]:
    """Insert each job with its first event, unless its key, a bound or its intention says no."""
    quotas = await _quotas(db, jobs)
    if all(is_plain(job, quotas.get(job.tenant)) for job in jobs):
        return await _insert_rows(db, jobs, now)
    async with db.transaction():
        return await _insert_judged(db, jobs, quotas, now)


async def insert_all(db: Session, jobs: Sequence[NewJob], now: int | None) -> list[Inserted]:
    """Insert all or none."""
    async with db.transaction(), db.all_or_none() as undo:
        quotas = await _quotas(db, jobs)
        if now is None:
            (now,) = await db.sole("instant")
        outcomes = await _insert_judged(db, jobs, quotas, now)
        if any(outcome.outcome in REFUSED for outcome in outcomes):
            await undo()
            outcomes = [
                made if made.outcome in REFUSED else Inserted(made.id, "aborted", now)
                for made in outcomes
            ]
    return outcomes


async def _quotas(db: Session, jobs: Sequence[NewJob]) -> Quotas:
    tenants = {job.tenant for job in jobs if job.tenant}
    if not tenants:
        return {}
    limits = await limits_of(db, [f"tenant:{tenant}" for tenant in tenants])
    return {tenant: limits.of(f"tenant:{tenant}").max_depth for tenant in tenants}


def _row(job: NewJob) -> tuple[Any, ...]:
    return (
        job.id,
        job.queue,
        job.priority,
        job.max_attempts,
        job.delay_us,
        job.run_at_us,
        job.expires_in_us,
        job.deadline_us,
        job.timeout_us,
        job.tenant,
        job.task,
        job.concurrency_key,
        job.key,
        None if job.sole is None else job.sole.key,
        job.tags,
        job.notify,
        job.args,
    )


_COLUMNS: Final = (
    "id",
    "queue",
    "priority",
    "max_attempts",
    "delay_us",
    "run_at",
    "expires_in_us",
    "deadline_us",
    "timeout_us",
    "tenant",
    "task",
    "concurrency_key",
    "key",
    "sole_key",
    "tags",
    "notify",
    "args",
)


async def _insert_rows(db: Session, jobs: Sequence[NewJob], now: int | None) -> list[Inserted]:
    """Insert jobs of which nothing has to be looked up; one whose ID is there is a duplicate."""
    if len(jobs) >= COPIED_MIN and db.can_copy:
        made = await copied(db, jobs, now)
        if made is not None:
            return made
    if len(jobs) <= CHUNK:
        return await _insert_chunk(db, jobs, now)
    async with db.transaction():
        made = []
        for start in range(0, len(jobs), CHUNK):
            made += await _insert_chunk(db, jobs[start : start + CHUNK], now)
        return made


async def _insert_chunk(db: Session, jobs: Sequence[NewJob], now: int | None) -> list[Inserted]:
    if len(jobs) == 1:
        name, columns = "insert_one", iter(_row(jobs[0]))
    else:
        name, columns = "insert", zip(*map(_row, jobs), strict=True)
    values = dict(zip(_COLUMNS, columns, strict=True))
    made: dict[str, int] = dict(await db.rows(name, now=now, **values))
    if len(made) == len(jobs):
        return [Inserted(job.id, "created", made[job.id]) for job in jobs]
    rest = [job.id for job in jobs if job.id not in made]
    known = dict(made)
    if rest:
        known |= dict(await db.rows("submitted_at", ids=rest))
    outcomes = []
    for job in jobs:  # of one that came twice, the first is the one that was made
        outcome = "created" if made.pop(job.id, None) is not None else "duplicate"
        outcomes.append(Inserted(job.id, outcome, known[job.id]))
    return outcomes


async def _insert_judged(
    db: Session, jobs: Sequence[NewJob], quotas: Quotas, now: int | None
) -> list[Inserted]:
    """Insert one after the other what must be judged, each alone in what it is judged by."""
    names = [name for job in jobs for name in _judged_by(job, quotas.get(job.tenant))]
    if names:
        await db.rows("lock", names=names)
    if now is None:
        (now,) = await db.sole("instant")
    made: list[Inserted] = []
    for is_keyed, some in groupby(jobs, lambda job: _is_keyed(job, quotas.get(job.tenant))):
        if is_keyed:
            for chunk in _distinct(some):
                made += await _insert_keyed(db, chunk, now)
        else:
            made += [await _insert_one(db, job, now, quotas.get(job.tenant)) for job in some]
    return made


def _judged_by(job: NewJob, quota: int | None) -> Iterator[str]:
    """Name what others may be judged by at the same time."""
    if job.key is not None:
        yield f"key {len(job.tenant)} {job.tenant} {job.key}"
    if job.sole is not None:
        yield f"sole {job.sole.key}"
    if job.max_depth is not None:
        yield f"depth {job.queue}"
    if quota is not None:
        yield f"quota {job.tenant}"


def _is_keyed(job: NewJob, quota: int | None) -> bool:
    """Whether nothing but its key, if it has one, has to be looked up."""
    return job.sole is None and job.max_depth is None and quota is None


def _distinct(jobs: Iterator[NewJob]) -> Iterator[list[NewJob]]:
    """Cut where a key or an ID comes again, because what becomes of it depends on the first."""
    chunk: list[NewJob] = []
    seen: set[tuple[str, ...]] = set()
    for job in jobs:
        marks = {("", job.id)} | (set() if job.key is None else {(job.tenant, job.key, "")})
        if marks & seen or len(chunk) == CHUNK:
            yield chunk
            chunk, seen = [], set()
        chunk.append(job)
        seen |= marks
    if chunk:
        yield chunk


async def _insert_keyed(db: Session, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
    keyed = [job for job in jobs if job.key is not None]
    outcomes: dict[str, Inserted] = {}
    if keyed:
        tenants, keys = [job.tenant for job in keyed], [job.key for job in keyed]
        found = {
            (row[0], row[1]): row[2:]
            for row in await db.rows("keys_find", tenants=tenants, keys=keys, now=now)
        }
        for job in keyed:
            there = found.get((job.tenant, job.key))
            if there is not None:
                outcome = "duplicate" if there[0] == job.fingerprint else "conflict"
                outcomes[job.id] = Inserted(there[1], outcome, there[2])
    new = [job for job in jobs if job.id not in outcomes]
    if new:
        made = await _insert_rows(db, new, now)
        outcomes |= {job.id: one for job, one in zip(new, made, strict=True)}
        await _remember(
            db,
            [(job, one.id, now) for job, one in zip(new, made, strict=True)
             if one.outcome == "created"],
            now,
        )  # fmt: skip
    return [outcomes[job.id] for job in jobs]


async def _insert_one(db: Session, job: NewJob, now: int, quota: int | None) -> Inserted:
    if job.key is not None:
        values = {"tenants": [job.tenant], "keys": [job.key], "now": now}
        for *_, fingerprint, job_id, at in await db.rows("keys_find", **values):
            same = fingerprint == job.fingerprint
            return Inserted(job_id, "duplicate" if same else "conflict", at)
    # A repeat of what was let in before is no new job, however full the queue is by now.
    for _, submitted_at in await db.rows("submitted_at", ids=[job.id]):
        return Inserted(job.id, "duplicate", submitted_at)
    if job.sole is not None:
        there = await _another(db, job, job.sole, now)
        if there is not None:
            return there
    over = await _over(db, job, quota)
    if over is not None:
        return Inserted(job.id, over, now)
    (made,) = await _insert_rows(db, [job], now)
    if made.outcome == "created":
        await _remember(db, [(job, job.id, now)], now)
    return made


async def _over(db: Session, job: NewJob, quota: int | None) -> str | None:
    """Return the bound that lets no further job wait: the queue's, or the tenant's."""
    if job.max_depth is not None:
        (depth,) = await db.sole("depth", queue=job.queue, limit=job.max_depth)
        if depth >= job.max_depth:
            return "full"
    if quota is not None:
        (depth,) = await db.sole("depth_of_tenant", tenant=job.tenant, limit=quota)
        if depth >= quota:
            return "quota"
    return None


async def _another(db: Session, job: NewJob, rule: Sole, now: int) -> Inserted | None:
    """Return what a job of the same intention means for a new one; None when none counts."""
    found = await db.rows("sole_find", key=rule.key, states=list(rule.counting))
    # Of each state the newest: if that one is too old, so are the others.
    recent = [row for row in found if rule.is_recent(row[3], now)]
    if not recent:
        return None
    _, job_id, status, submitted_at = max(recent, key=lambda row: int(row[0]))
    if rule.on == "replace":
        delay = rule.put_off_us(job.delay_from(now), submitted_at, now)
        change = transition.replaced(job_id, Status(status), job, delay)
        (verdict,) = await commit(db, [change], now)
        if not verdict.accepted:
            # It has started since it was read, so it is another one's work now.
            return await _another(db, job, rule, now)
    if rule.on != "reject":
        await _remember(db, [(job, job_id, submitted_at)], now)
    return Inserted(job_id, rule.outcome, submitted_at)


async def _remember(db: Session, found: Sequence[tuple[NewJob, str, int]], now: int) -> None:
    """Let the keys of these jobs, where they have one, stand for what they got."""
    keyed = [one for one in found if one[0].key is not None]
    if keyed:
        await db.rows(
            "keys_put",
            tenants=[job.tenant for job, *_ in keyed],
            keys=[job.key for job, *_ in keyed],
            fingerprints=[job.fingerprint for job, *_ in keyed],
            ids=[job_id for _, job_id, _ in keyed],
            ats=[at for *_, at in keyed],
            ends=[now + job.key_ttl_us for job, *_ in keyed],
        )
