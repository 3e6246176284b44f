"""How the reference ledger decides who starts next: written as the rule is said, not to be quick.

A job may start when none of its subjects (queue, task, tenant, key) is at a limit. Of those, the
highest priority goes first; within it, the lane (tenant and key) whose turn it is; within that, the
oldest. Every tenth start, when several priorities wait, goes to the oldest of what each of them
would give. A lane's turn moves on with each start, by less the more it weighs, and from where its
priority has come to: who was away, or was stopped, has saved up nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from outlast.core.job import Doc, JobRecord
from outlast.core.share import AGED_EVERY, NO_PACE, Limits, Pace, Running, own_limit, step_of
from outlast.core.status import Status

_Lane = tuple[str, str | None]
_Level = tuple[str, int]  # queue and priority


def running_of(jobs: Iterable[JobRecord]) -> Running:
    """Count what holds a lease, by each of its subjects."""
    held = [row for row in jobs if row.status is Status.PROCESSING]
    return Running([(r.queue, r.task, r.tenant, r.concurrency_key, 1) for r in held].copy)


def limits_in(docs: Mapping[tuple[str, str], Doc]) -> Limits:
    """Return what holds for each subject."""
    kinds = ("limit", "declared", "queue")
    found = {place: doc.doc for place, doc in docs.items() if doc.kind in kinds}
    return Limits(lambda subject: own_limit(subject, found))


class Turns:
    """What is remembered from claim to claim: whose turn it is, and when each rate is due."""

    def __init__(self) -> None:
        self._passes: dict[_Level, dict[_Lane, int]] = defaultdict(dict)
        self._at: dict[_Level, int] = defaultdict(int)
        self._starts: Counter[str] = Counter()
        self._paces: dict[str, Pace] = {}

    def choose(
        self,
        queue: str,
        waiting: list[JobRecord],
        running: Running,
        limits: Limits,
        *,
        room: int,
        now: int,
    ) -> list[JobRecord]:
        """Return which of a queue's waiting jobs start, in order, and count them as running."""
        lanes: dict[_Level, set[_Lane]] = defaultdict(set)
        lines: dict[tuple[_Level, _Lane, str], list[JobRecord]] = defaultdict(list)
        for row in sorted(waiting, key=lambda row: row.number):
            lanes[_level(row)].add(_lane(row))
            lines[_level(row), _lane(row), row.task].append(row)
        for level in [level for level in self._passes if level[0] == queue]:
            if len(lanes[level]) < 2:  # noqa: PLR2004 - nobody to share with
                del self._passes[level]
        several = len([level for level in lanes if lanes[level]]) > 1
        chosen: list[JobRecord] = []
        while len(chosen) < room:
            heads = [line[0] for line in lines.values() if line]
            heads = [row for row in heads if self._free_at(row, running, limits, now) == 0]
            if not heads:
                break
            row = self._next(heads, aged=several and self._starts[queue] % AGED_EVERY == 9)  # noqa: PLR2004
            lines[_level(row), _lane(row), row.task].pop(0)
            chosen.append(row)
            self._count(row, running, limits, now)
            if len(lanes[_level(row)]) > 1:
                self._serve(row, limits)
            self._starts[queue] += several
        return chosen

    def _next(self, heads: list[JobRecord], *, aged: bool) -> JobRecord:
        firsts = [
            min((row for row in heads if row.priority == priority), key=self._place)
            for priority in {row.priority for row in heads}
        ]
        if aged:
            return min(firsts, key=lambda row: row.number)
        return max(firsts, key=lambda row: row.priority)

    def _place(self, row: JobRecord) -> tuple[int, int]:
        return (self._turn(row), row.number)

    def _turn(self, row: JobRecord) -> int:
        level = _level(row)
        return max(self._passes[level].get(_lane(row), 0), self._at[level])

    def _serve(self, row: JobRecord, limits: Limits) -> None:
        level = _level(row)
        self._at[level] = self._turn(row)
        step = step_of([limits.of(name) for name in _names(row, limits)[2:]])
        self._passes[level][_lane(row)] = self._at[level] + step

    def _count(self, row: JobRecord, running: Running, limits: Limits, now: int) -> None:
        for name in _names(row, limits):
            running[name] += 1
            rate = limits.of(name).rate
            if rate is not None:
                self._paces[name] = rate.after(self._paces.get(name, NO_PACE), now)

    def _free_at(self, row: JobRecord, running: Running, limits: Limits, now: int) -> int | None:
        """Return from when on its rates let the job start; 0: now; None: when another ends."""
        latest = 0
        for name in _names(row, limits):
            limit = limits.of(name)
            if limit.concurrency is not None and running[name] >= limit.concurrency:
                return None
            if limit.rate is not None:
                free_at = limit.rate.free_at(self._paces.get(name, NO_PACE))
                latest = max(latest, free_at if free_at > now else 0)
        return latest

    def free_at(
        self,
        waiting: list[JobRecord],
        running: Running,
        limits: Limits,
        now: int,
    ) -> int | None:
        """Return when the first of the jobs that a rate stopped may start."""
        instants = (self._free_at(row, running, limits, now) for row in waiting)
        return min((at for at in instants if at), default=None)


def _names(row: JobRecord, limits: Limits) -> tuple[str, ...]:
    return limits.subjects(row.queue, row.task, row.tenant, row.concurrency_key)


def _level(row: JobRecord) -> _Level:
    return (row.queue, row.priority)


def _lane(row: JobRecord) -> _Lane:
    return (row.tenant, row.concurrency_key)
