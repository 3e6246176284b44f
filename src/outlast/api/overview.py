"""How the queues stand: depths, rates and times, measured at most as often as they are cheap."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Final, TypeVar

from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import MINUTE, SECOND
from outlast.core.ports import Clock
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.sdk.dead import Death, recent_deaths

T = TypeVar("T")

# No transition leads to `waiting` yet, so there is nothing of it to count.
LIVE: Final = (Status.SCHEDULED, Status.PENDING, Status.PROCESSING)
_SAMPLE: Final = 500
_AGE_US: Final = SECOND
_SHARE: Final = 20  # measuring may take a twentieth of the time
_TENANTS_MAX: Final = 1_000
_RETRY_AFTER_S: Final = 5
_RETRY_AFTER_MAX_S: Final = 60
_CATCH_UP_S: Final = 30  # scaling aims to have a backlog done within this time


@dataclass(slots=True)
class Figures:
    """One queue at one moment; times in seconds, None where nothing was seen."""

    name: str
    depth: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*LIVE, "waiting"), 0))
    oldest_pending_us: int | None = None
    arrivals: float = 0.0
    completions: float = 0.0
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)
    runs_of: dict[str, list[float]] = field(default_factory=dict)  # by task

    def quantiles(self, values: list[float]) -> dict[str, float | None]:
        """Return the median and the 95th percentile."""
        ranked = sorted(values)
        if not ranked:
            return {"p50": None, "p95": None}
        return {"p50": ranked[len(ranked) // 2], "p95": ranked[int(len(ranked) * 0.95)]}

    def retry_after(self, max_depth: int) -> int:
        """Return in how many seconds a full queue should have a tenth of its places free."""
        if self.completions <= 0:
            return _RETRY_AFTER_S
        return max(1, min(_RETRY_AFTER_MAX_S, ceil(max_depth / 10 / self.completions)))

    def starts_in(self, ahead: int) -> float | None:
        """Return in how many seconds a job that has so many ahead should start.

        As many jobs as run now come to their ends evenly spread over a mean run, again and again.

        >>> Figures("q", {"processing": 2}, runs=[3.0]).starts_in(1)
        2.0
        """
        running = self.depth[Status.PROCESSING]
        if running and self.runs:
            rounds, left = divmod(ahead, running)
            return (rounds + (left + 1) / (running + 1)) * sum(self.runs) / len(self.runs)
        return ahead / self.completions if self.completions > 0 else None

    def takes(self, task: str, since: float = 0.0) -> float | None:
        """Return how many seconds a run of the task takes that has gone on for `since` of them."""
        longer = [run for run in self.runs_of.get(task, ()) if run >= since]
        return self.quantiles(longer)["p50"]

    def desired_workers(self, slots_each: int) -> int:
        """Return how many workers would have the backlog done soon."""
        mean = sum(self.runs) / len(self.runs) if self.runs else 1.0
        ahead = self.depth[Status.PENDING] * mean / _CATCH_UP_S
        slots = self.depth[Status.PROCESSING] + ahead
        return ceil(slots / max(1, slots_each))


class Overviews:
    """Measures all queues at once, for each tenant, and remembers it for a while."""

    def __init__(self, app: Outlast, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._known: dict[str | None, tuple[int, dict[str, Figures]]] = {}
        self._dead: dict[str | None, tuple[int, list[Death]]] = {}
        self._lock = asyncio.Lock()

    async def all(self, tenant: str | None) -> dict[str, Figures]:
        """Return the figures of every queue that has jobs or tasks."""
        return await self._remembered(self._known, tenant, self._measure)

    async def deaths(self, tenant: str | None) -> list[Death]:
        """Return the dead letters of the last hour."""

        async def measure(of: str | None) -> list[Death]:
            return await recent_deaths(self._app.ledger, self._clock.now_us(), of)

        return await self._remembered(self._dead, tenant, measure)

    async def _remembered(
        self,
        known: dict[str | None, tuple[int, T]],
        tenant: str | None,
        measure: Callable[[str | None], Awaitable[T]],
    ) -> T:
        async with self._lock:
            begun = self._clock.elapsed_us()
            if tenant in known and begun < known[tenant][0]:
                return known[tenant][1]
            found = await measure(tenant)
            ended = self._clock.elapsed_us()
            if len(known) >= _TENANTS_MAX:
                known.clear()
            age = max(_AGE_US, _SHARE * (ended - begun))
            known[tenant] = (ended + age, found)
            return found

    async def one(self, queue: str, tenant: str | None) -> Figures:
        """Return one queue's figures; a queue that nobody used has zeros."""
        return (await self.all(tenant)).get(queue) or Figures(queue)

    async def _measure(self, tenant: str | None) -> dict[str, Figures]:
        ledger, now = self._app.ledger, self._clock.now_us()
        names = {task.queue for task in self._app.tasks.values()}
        found: dict[str, Figures] = {name: Figures(name) for name in names}
        for status in LIVE:
            counts = await ledger.count(Filter(tenant=tenant, status=status), "queue")
            for (name, _), number in counts.items():
                found.setdefault(name, Figures(name)).depth[status] = number
        newest = await ledger.find(Filter(tenant=tenant), Page(limit=_SAMPLE))
        grouped = _by_queue(newest)
        for name in grouped:
            found.setdefault(name, Figures(name))
        for name, figures in found.items():
            sample = grouped.get(name, [])
            if figures.depth[Status.PENDING]:
                # With a backlog, what ran lately was submitted before the oldest that waits.
                where = Filter(tenant=tenant, queue=name, status=Status.PENDING)
                waiting = await ledger.find(where, Page(limit=1, oldest_first=True))
                for oldest in waiting:
                    figures.oldest_pending_us = now - oldest.run_at
                    page = Page(limit=_SAMPLE, after=oldest.number)
                    earlier = await ledger.find(Filter(tenant=tenant), page)
                    sample = sample + _by_queue(earlier).get(name, [])
            _measure_flow(figures, {job.id: job for job in sample}.values(), now)
        return found


def _by_queue(jobs: Iterable[JobRecord]) -> dict[str, list[JobRecord]]:
    grouped: dict[str, list[JobRecord]] = defaultdict(list)
    for job in jobs:
        grouped[job.queue].append(job)
    return grouped


def _measure_flow(figures: Figures, sample: Iterable[JobRecord], now: int) -> None:
    jobs = list(sample)
    ended = [job for job in jobs if job.finished_at is not None and job.started_at is not None]
    figures.arrivals = _rate([job.submitted_at for job in jobs], now)
    figures.completions = _rate([job.finished_at or 0 for job in ended], now)
    figures.waits = [max(0, (job.started_at or 0) - job.run_at) / SECOND for job in ended]
    for job in ended:
        seconds = ((job.finished_at or 0) - (job.started_at or 0)) / SECOND
        figures.runs.append(seconds)
        figures.runs_of.setdefault(job.task, []).append(seconds)


def _rate(instants: list[int], now: int) -> float:
    """Return how many a second in the last minute, or in the sample when that is shorter."""
    recent = [at for at in instants if at > now - MINUTE]
    if not recent:
        return 0.0
    span = MINUTE if len(recent) < _SAMPLE else max(now - min(recent), SECOND)
    return round(len(recent) * SECOND / span, 3)
