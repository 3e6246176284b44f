"""The figures: what a user waits for, and what a queue can carry."""

import asyncio
import json
import os
import signal
import statistics
from dataclasses import dataclass
from pathlib import Path

from bench import floor
from bench.app import app, long, noop, when
from bench.fleet import cpu_seconds, fleet, memory_mb, parent_of
from outlast.core.job import Filter
from outlast.core.limits import LEASE_US, SECOND
from outlast.core.status import Status
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

WARMING = 20  # the first jobs find cold caches, and are not counted


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, its floor in the same run, and what we want of the ratio."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: str = ""
    reached: bool | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None else self.value / self.floor


async def use(folder: Path) -> None:
    """Open a ledger of its own in a folder."""
    app.configure(Settings(ledger=f"sqlite:///{folder}/bench.db", blobs=str(folder / "blobs")))
    await app.open()


async def submitted(count: int, callers: int) -> float:
    """Submit from so many callers at once; return jobs per second."""

    async def caller() -> None:
        for n in range(count // callers):
            await noop.submit(n=n)

    start = CLOCK.elapsed_us()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return floor.rate(count // callers * callers, start)


async def submits(folder: Path, scale: float) -> list[Figure]:
    """Durable submits, one at a time and from 64 callers at once."""
    count = int(4_000 * scale)
    db = floor.open_file(folder / "floor.db")
    before = floor.submits(db, count)
    await use(folder)
    one = await submitted(count, 1)
    many = await submitted(count * 5, 64)
    await app.close()
    raw = (before + floor.submits(db, count)) / 2
    db.close()
    return [
        Figure("submit, one at a time", one, "jobs/s", raw, "≥ 0.6", one >= 0.6 * raw),
        Figure("submit, 64 callers", many, "jobs/s", raw, "≥ 3", many >= 3 * raw),
    ]


async def drain(folder: Path, count: int, *, keys: int = 0) -> float:
    """Fill the ledger, then let one worker process empty it; the clock runs from first to last."""
    db = floor.connect(f"{folder}/bench.db")
    floor.fill(db, count, keys=keys)
    db.close()
    await use(folder)
    with fleet(folder):
        while True:
            # Counted through the partial indexes: a count of all would compete with the drain.
            live = [Filter(status=status) for status in (Status.PENDING, Status.PROCESSING)]
            if not any([(await app.ledger.count(where, "")).get((), 0) for where in live]):
                break
            await asyncio.sleep(0.1)
    first = await app.ledger.history(None, limit=1, type="started")
    last = await app.ledger.history(None, limit=count * 2, type="completed")
    await app.close()
    return count * 1_000_000 / (last[-1].at - first[0].at)


async def drains(folder: Path, scale: float) -> list[Figure]:
    """Draining no-op jobs with one worker process, on a fresh file and on one full of history."""
    count = int(100_000 * scale)
    fresh, full = folder / "fresh", folder / "full"
    raw = []
    for place in (fresh, full):
        place.mkdir()
        floor.open_file(place / "bench.db").close()
    db = floor.open_file(folder / "drain-floor.db")
    floor.fill(db, count)
    raw.append(floor.drain(db))
    rate = await drain(fresh, count)
    floor.fill(db, count)
    raw.append(floor.drain(db))
    db.close()
    db = floor.connect(str(full / "bench.db"))
    floor.fill(db, int(1_000_000 * scale), "completed")
    db.close()
    aged = await drain(full, count)
    bare = statistics.mean(raw)
    return [
        Figure("drain, one process", rate, "jobs/s", bare, "≥ 0.15", rate >= 0.15 * bare),
        Figure(
            f"drain with {int(1_000_000 * scale):,} finished",
            aged,
            "jobs/s",
            rate,
            "≥ 0.9",
            aged >= 0.9 * rate,
        ),
    ]


async def _two_commits(path: Path, rounds: int) -> float:
    """Measure what no pickup can do without, two synced commits after a pause; return median ms."""
    db = floor.open_file(path)
    took = []
    for _ in range(rounds):
        await asyncio.sleep(0.01)
        took.append(1_000 * 2 / floor.submits(db, 2))
    db.close()
    return statistics.median(took)


async def pickup_ms(rounds: int) -> tuple[float, float]:
    """Submit to the idle system that runs; return p50 and p99 of how long jobs took to start."""
    late = []
    for n in range(rounds + WARMING):
        await asyncio.sleep(0.01)
        asked = CLOCK.now_us()
        handle = await when.submit(n=n)
        late.append((await handle.result(timeout=10) - asked) / 1_000)
    late = sorted(late[WARMING:])
    return late[len(late) // 2], late[int(len(late) * 0.99)]


async def pickups(folder: Path, scale: float) -> list[Figure]:
    """How long an idle system takes from submit to the handler's start, across processes."""
    place = folder / "pickup"
    place.mkdir()
    bare = await _two_commits(folder / "pickup-floor.db", int(100 * scale) + 10)
    await use(place)
    with fleet(place):
        p50, p99 = await pickup_ms(int(500 * scale))
    await app.close()
    return [
        Figure("pickup p50", p50, "ms", bare, "≤ 2", p50 <= 2),
        Figure("pickup p99", p99, "ms", None, "≤ 10", p99 <= 10),
    ]


async def idles(folder: Path, scale: float) -> list[Figure]:
    """Measure what an idle worker costs."""
    place = folder / "idle"
    place.mkdir()
    await use(place)
    with fleet(place) as running:
        (doc,) = [d for d in await app.ledger.docs("worker") if d.lease_until]
        pids = [json.loads(doc.doc)["pid"], running["supervisor"]]
        await asyncio.sleep(2)
        before = [cpu_seconds(pid) for pid in pids]
        seconds = max(3.0, 10 * scale)
        await asyncio.sleep(seconds)
        used = [100 * (cpu_seconds(p) - b) / seconds for p, b in zip(pids, before, strict=True)]
        rss = [memory_mb(pid) for pid in pids]
    await app.close()
    return [
        Figure("idle worker CPU", used[0], "%", None, "< 1", used[0] < 1),
        Figure("idle supervisor CPU", used[1], "%", None, "< 1", used[1] < 1),
        Figure("idle worker RSS", rss[0], "MB", None, "< 50", rss[0] < 50),
        Figure("idle supervisor RSS", rss[1], "MB", None, "< 50", rss[1] < 50),
    ]


async def recover(
    settings: Settings, *, supervisor: bool = False, frozen: bool = False, extra: tuple[str, ...]
) -> float:
    """Kill -9 whoever runs the job, or freeze it; return seconds until it runs again elsewhere.

    Who is frozen closes no lock and ends no process, so that only its lease can run out.
    """
    app.configure(settings)
    await app.open()
    place = Path(settings.blobs).parent
    with fleet(place, extra=extra), fleet(place, extra=extra):
        handle = await long.submit(n=1)
        # The victim must belong to the first fleet when its supervisor is to die as well.
        while True:
            job = await handle.record()
            if job.holder is not None:
                (doc,) = await app.ledger.docs("worker", job.holder)
                pid = json.loads(doc.doc)["pid"]
                parent = parent_of(pid)
                break
            await asyncio.sleep(0.01)
        victims = [parent, pid] if frozen else [parent] if supervisor else [pid]
        start = CLOCK.now_us()
        for victim in victims:
            os.kill(victim, signal.SIGSTOP if frozen else signal.SIGKILL)
        while (job := await handle.record()).token < 2 or job.started_at is None:
            await asyncio.sleep(0.002)
        await handle.cancel()
        seconds = (job.started_at - start) / 1_000_000
        for victim in victims if frozen else ():
            os.kill(victim, signal.SIGKILL)
    await app.close()
    return seconds


async def _recover(place: Path, *, supervisor: bool = False, frozen: bool = False) -> float:
    settings = Settings(ledger=f"sqlite:///{place}/bench.db", blobs=f"{place}/blobs")
    return await recover(settings, supervisor=supervisor, frozen=frozen, extra=())


async def recoveries(folder: Path, scale: float) -> list[Figure]:
    """How soon a killed worker's job runs again on the same host."""
    rounds = max(1, int(5 * scale))
    for n in range(rounds):
        (folder / f"kill-{n}").mkdir()
        (folder / f"kill-all-{n}").mkdir()
    worker = [await _recover(folder / f"kill-{n}", supervisor=False) for n in range(rounds)]
    both = [await _recover(folder / f"kill-all-{n}", supervisor=True) for n in range(rounds)]
    (folder / "freeze").mkdir()
    lease = await _recover(folder / "freeze", frozen=True)
    limit = LEASE_US / SECOND + 1
    return [
        Figure("kill -9 worker → runs again", max(worker), "s", None, "≤ 0.3", max(worker) <= 0.3),
        Figure("… and its supervisor", max(both), "s", None, "≤ 2", max(both) <= 2),
        Figure("no hint, lease runs out", lease, "s", None, f"≤ {limit:g}", lease <= limit),
    ]
