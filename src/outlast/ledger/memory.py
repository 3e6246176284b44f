"""The reference ledger: a few dictionaries, written to be obviously right rather than fast.

It shares nothing with the stores that it judges. It belongs to one event loop; no method awaits
anything, so each one is atomic.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from outlast.core import transition
from outlast.core.job import (
    Doc,
    Event,
    Filter,
    Inserted,
    JobRecord,
    Lease,
    Leases,
    NewJob,
    Page,
    Pruned,
    Transition,
    Verdict,
    Want,
    lease_of,
)
from outlast.core.limits import TOMBSTONE_TTL_US
from outlast.core.ports import Clock
from outlast.core.status import Status
from outlast.core.unique import Sole
from outlast.ledger import memory_rows as rows
from outlast.ledger.memory_bell import MemoryBell
from outlast.ledger.memory_turns import Turns, limits_in, running_of
from outlast.ledger.protocol import Capability
from outlast.system import CLOCK

_WAITING_FOR_WORKERS = frozenset({Status.SCHEDULED, Status.PENDING})
_REFUSED = frozenset({"conflict", "full", "quota", "rejected"})
_GIVEN_UP = 0  # the `lease_until` of a worker that can never renew


class MemoryLedger:
    """Keeps jobs in this process; what it holds ends with it."""

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, *, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._bell = MemoryBell()
        self._jobs: dict[str, JobRecord] = {}  # by ID, in the order of their numbers
        self._discarded: set[str] = set()
        self._events: list[Event] = []
        self._keys: dict[tuple[str, str], rows.Remembered] = {}  # by tenant and key
        self._docs: dict[tuple[str, str], Doc] = {}  # by kind and key
        self._turns = Turns()
        self._last_number = 0
        self._last_position = 0

    @property
    def bell(self) -> MemoryBell:
        return self._bell

    def _now(self, now: int | None) -> int:
        return self._clock.now_us() if now is None else now

    def _append(self, row: JobRecord, type_: str, at: int, data: str) -> None:
        """Keep the row together with the event that explains it."""
        self._jobs[row.id] = row
        self._last_position += 1
        self._events.append(Event(self._last_position, row.id, row.seq, type_, at, data))

    # Submitting ----------------------------------------------------------------------------------

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        moment = self._now(now)
        before = (dict(self._jobs), list(self._events), dict(self._keys))
        counters = (self._last_number, self._last_position)
        outcomes = [self._insert(job, moment) for job in jobs]
        if atomic and any(made.outcome in _REFUSED for made in outcomes):
            self._jobs, self._events, self._keys = before
            self._last_number, self._last_position = counters
            return [
                made if made.outcome in _REFUSED else Inserted(made.id, "aborted", moment)
                for made in outcomes
            ]
        if any(made.outcome == "created" for made in outcomes):
            self._bell.ring()
        return outcomes

    def _insert(self, job: NewJob, now: int) -> Inserted:
        if job.key is not None:
            first = self._remembered(job.tenant, job.key, now)
            if first is not None:
                outcome = "duplicate" if first.fingerprint == job.fingerprint else "conflict"
                return Inserted(first.job_id, outcome, first.submitted_at)
        if job.id in self._jobs:
            return Inserted(job.id, "duplicate", self._jobs[job.id].submitted_at)
        if job.sole is not None:
            there = self._another(job, job.sole, now)
            if there is not None:
                return there
        over = self._over(job)
        if over is not None:
            return Inserted(job.id, over, now)
        self._last_number += 1
        row = rows.first_row(job, self._last_number, now)
        delayed = row.status is Status.SCHEDULED
        data = json.dumps({"queue": job.queue, "task": job.task, "delayed": delayed})
        self._append(row, "submitted", now, data)
        self._remember(job, job.id, now, now)
        return Inserted(job.id, "created", now)

    def _another(self, job: NewJob, rule: Sole, now: int) -> Inserted | None:
        """Return what a job of the same intention means for a new one; None when none counts."""
        found = [
            row
            for row in self._jobs.values()
            if row.sole_key == rule.key
            and row.status in rule.counting
            and rule.is_recent(row.submitted_at, now)
        ]
        if not found:
            return None
        there = found[-1]
        if rule.on == "replace":
            delay = rule.put_off_us(job.delay_from(now), there.submitted_at, now)
            self._judge(transition.replaced(there.id, there.status, job, delay), now)
        if rule.on != "reject":
            self._remember(job, there.id, there.submitted_at, now)
        return Inserted(there.id, rule.outcome, there.submitted_at)

    def _remember(self, job: NewJob, job_id: str, submitted_at: int, now: int) -> None:
        """Let the job's idempotency key, if it has one, stand for what it got."""
        if job.key is not None:
            self._keys[job.tenant, job.key] = rows.Remembered(
                job.fingerprint, job_id, submitted_at, now + job.key_ttl_us
            )

    def _remembered(self, tenant: str, key: str, now: int) -> rows.Remembered | None:
        """Return what the key stands for, unless its time is over."""
        found = self._keys.get((tenant, key))
        return found if found is not None and found.expires_at > now else None

    def _over(self, job: NewJob) -> str | None:
        """Return the bound that lets no further job wait: the queue's, or the tenant's."""
        waiting = [row for row in self._jobs.values() if row.status in _WAITING_FOR_WORKERS]
        quota = limits_in(self._docs).of(f"tenant:{job.tenant}").max_depth if job.tenant else None
        if (
            job.max_depth is not None
            and sum(row.queue == job.queue for row in waiting) >= job.max_depth
        ):
            return "full"
        if quota is not None and sum(row.tenant == job.tenant for row in waiting) >= quota:
            return "quota"
        return None

    # Working -------------------------------------------------------------------------------------

    def _alive(self, holder: str) -> bool:
        """Whether the worker is registered with a lease that nobody has given up."""
        doc = self._docs.get(("worker", holder))
        return doc is not None and doc.lease_until not in {None, _GIVEN_UP}

    async def claim(self, want: Want, *, now: int | None = None) -> Leases:
        moment = self._now(now)
        leases = Leases()
        if not self._alive(want.holder):
            return leases
        running, limits = running_of(self._jobs.values()), limits_in(self._docs)
        for queue in want.queues:
            room = want.limit - len(leases)
            if self._paused(queue) or room <= 0:
                continue
            waiting = self._runnable(queue, moment)
            for row in self._turns.choose(queue, waiting, running, limits, room=room, now=moment):
                taken = rows.taken(row, want.holder, moment)
                self._append(taken, "started", moment, rows.started(taken))
                leases.append(lease_of(taken))
            left = self._runnable(queue, moment)
            leases.note(self._turns.free_at(left, running, limits, moment), moment)
        if len(leases) == want.limit:
            leases.again_us = None
        if leases:
            self._bell.ring()
        return leases

    def _paused(self, queue: str) -> bool:
        doc = self._docs.get(("queue", queue))
        return doc is not None and json.loads(doc.doc).get("paused") is True

    def _runnable(self, queue: str, now: int) -> list[JobRecord]:
        """Return the jobs of the queue that wait and have not expired."""
        return [
            row
            for row in self._jobs.values()
            if row.queue == queue
            and row.status is Status.PENDING
            and (row.expires_at is None or row.expires_at > now)
        ]

    async def extend(
        self, holders: Sequence[str], ttl_us: int, *, now: int | None = None
    ) -> list[str]:
        until = self._now(now) + ttl_us if ttl_us else _GIVEN_UP
        lost = []
        for holder in holders:
            if not self._alive(holder):
                lost.append(holder)
                continue
            doc = self._docs["worker", holder]
            self._docs["worker", holder] = replace(doc, lease_until=until)
            self._bell.ring()
        return lost

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        moment = self._now(now)
        return [self._judge(change, moment) for change in transitions]

    def _judge(self, change: Transition, now: int) -> Verdict:
        row = self._jobs.get(change.id)
        if row is None:
            return Verdict(change.id, accepted=False)
        asked_to_stop = row.cancel_requested_at is not None
        if not self._accepts(row, change, now):
            return Verdict(
                row.id,
                accepted=False,
                status=row.status,
                token=row.token,
                cancel_requested=asked_to_stop,
            )
        changed = rows.changed(row, change, now)
        if change.event:
            self._append(changed, change.event, now, change.data)
        else:
            self._jobs[row.id] = changed
        if change.rerun:
            self._discarded.discard(row.id)
        elif change.discard:
            self._discarded.add(row.id)
        self._bell.ring()
        return Verdict(row.id, accepted=True, seq=changed.seq)

    def _accepts(self, row: JobRecord, change: Transition, now: int) -> bool:
        """Whether the job still is what the transition expects; all of the safety is here."""
        return (
            row.status is change.source
            and (change.token is None or change.token == row.token)
            and not (change.unless_cancelled and row.cancel_requested_at is not None)
            and rows.is_time(row, change.when, now)
        )

    async def expired(self, limit: int, *, now: int | None = None) -> list[Lease]:
        moment = self._now(now)
        for place, doc in list(self._docs.items()):
            if doc.kind == "worker" and doc.lease_until and self._is_over(doc.lease_until, moment):
                self._docs[place] = replace(doc, lease_until=_GIVEN_UP)
                self._bell.ring()
        orphans = [
            row
            for row in self._jobs.values()
            if row.status is Status.PROCESSING and not self._alive(row.holder or "")
        ]
        return [lease_of(row) for row in orphans[:limit]]

    def _is_over(self, lease_until: int, now: int) -> bool:
        return lease_until <= now

    # Records, retention --------------------------------------------------------------------------

    async def put(
        self,
        kind: str,
        key: str,
        doc: str | None,
        *,
        version: int | None = None,
        ttl_us: int | None = None,
        now: int | None = None,
    ) -> bool:
        old = self._docs.get((kind, key))
        current = 0 if old is None else old.version
        if version is not None and version != current:
            return False
        if doc is None:
            self._docs.pop((kind, key), None)
        else:
            lease = None if old is None else old.lease_until
            if ttl_us is not None:
                lease = self._now(now) + ttl_us
            self._docs[kind, key] = Doc(kind, key, current + 1, doc, lease)
        if old is not None or doc is not None:
            self._bell.ring()
        return True

    async def docs(self, kind: str, key: str | None = None) -> list[Doc]:
        found = [d for d in self._docs.values() if d.kind == kind and key in {None, d.key}]
        return sorted(found, key=lambda doc: doc.key)

    async def prune(
        self, before: int, limit: int, *, ids: Sequence[str] | None = None, now: int | None = None
    ) -> Pruned:
        moment = self._now(now)
        over = rows.ended(list(self._jobs.values()), (0, 0))
        over = [row for row in over if (row.finished_at or 0) < before]
        gone = [row for row in over if ids is None or row.id in ids][:limit]
        names = tuple(row.id for row in gone)
        for row in gone:
            del self._jobs[row.id]
            self._discarded.discard(row.id)
            tombstone = json.dumps({"tenant": row.tenant})
            await self.put("tombstone", row.id, tombstone, ttl_us=TOMBSTONE_TTL_US, now=moment)
        self._events = [event for event in self._events if event.job_id not in names]
        keys = sorted((k.expires_at, *at) for at, k in self._keys.items() if k.expires_at <= moment)
        for _, tenant, key in keys[:limit]:
            del self._keys[tenant, key]
            self._bell.ring()
        docs = rows.passed(self._docs.values(), moment)[:limit]
        for doc in docs:
            await self.put(doc.kind, doc.key, None)
        return Pruned(len(names), len(keys[:limit]), names, len(docs))

    # Reading -------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [self._jobs.get(job_id) for job_id in ids]

    async def find(self, where: Filter, page: Page) -> list[JobRecord]:
        found = self._matching(where)
        if page.ended_after is not None:
            return rows.ended(found, page.ended_after)[: page.limit]
        if not page.oldest_first:
            found.reverse()
        if page.after is not None:
            found = [
                row
                for row in found
                if (row.number > page.after if page.oldest_first else row.number < page.after)
            ]
        return found[: page.limit]

    def _matching(self, where: Filter) -> list[JobRecord]:
        """Return the rows that match, oldest first."""
        mark = self._jobs.get(where.ahead_of or "")
        return [
            row
            for row in self._jobs.values()
            if rows.matches(row, where)
            and where.discarded in {None, row.id in self._discarded}
            and (where.ahead_of is None or (mark is not None and rows.is_ahead(row, mark)))
        ]

    async def count(self, where: Filter, by: str) -> dict[tuple[str, ...], int]:
        found = self._matching(where)
        match by:
            case "":
                return {(): len(found)}
            case "queue":
                return dict(Counter((row.queue, row.status.value) for row in found))
            case "error":
                return dict(Counter((rows.fingerprint(row) or "",) for row in found))
            case _:
                raise KeyError(by)

    async def history(
        self,
        job_id: str | None,
        *,
        after: int = 0,
        limit: int = 1_000,
        type: str | None = None,  # noqa: A002
    ) -> list[Event]:
        return [
            event
            for event in self._events
            if job_id in {None, event.job_id}
            and after < (event.position if job_id is None else event.seq)
            and type in {None, event.type}
        ][:limit]

    async def now(self) -> int:
        return self._clock.now_us()

    async def migrate(self, *, finish: bool = False) -> int:
        """There is no schema."""
        return 1

    async def check(self) -> dict[str, str]:
        """Return what there is to say of a few dictionaries."""
        return {"store": "memory", "jobs": str(len(self._jobs))}

    async def close(self) -> None:
        """Nothing to let go of."""
