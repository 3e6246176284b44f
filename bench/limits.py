"""The figures of limits and fair turns: a drain over many keys, and a newcomer beside a crowd."""

import asyncio
import statistics
from pathlib import Path

from bench import floor
from bench.app import app, when
from bench.figures import Figure, drain, use
from bench.fleet import fleet
from outlast.core.job import Filter, Page
from outlast.core.limits import PAGE_MAX
from outlast.core.share import Limit
from outlast.core.status import Status
from outlast.system import CLOCK

KEYS = 1_000


async def _start(**options: str) -> float:
    """Submit one job; return the milliseconds until its handler started."""
    asked = CLOCK.now_us()
    handle = await when.options(**options).submit(n=1)
    return (await handle.result(timeout=30) - asked) / 1_000


async def shares(folder: Path, scale: float) -> list[Figure]:
    """Drain jobs of 1,000 limited keys beside plain ones; start a job beside another key's many."""
    count = int(100_000 * scale)
    for name in ("plain", "keyed", "crowd"):
        (folder / name).mkdir()
        floor.open_file(folder / name / "bench.db").close()
    plain = await drain(folder / "plain", count)
    await use(folder / "keyed")
    await app.ledger.put("limit", "key:*", Limit(concurrency=100).text())
    await app.close()
    keyed = await drain(folder / "keyed", count, keys=KEYS)
    idle, one_job, late = await _newcomers(folder / "crowd", count, int(20 * scale) + 5)
    bound = 2 * idle + one_job
    name = f"start beside {count:,} of another key"
    return [
        Figure(
            "drain, 1,000 keys with limits", keyed, "jobs/s", plain, "≥ 0.5", keyed >= plain / 2
        ),
        Figure(name, max(late), "ms", bound, "≤ 1", max(late) <= bound),
        Figure("… median", statistics.median(late), "ms", bound),
    ]


async def _newcomers(place: Path, count: int, rounds: int) -> tuple[float, float, list[float]]:
    """Return the idle pickup, for how long one of the crowd's jobs was running, and the starts.

    Those are of jobs of a second key, beside the crowd; everything in milliseconds.
    """
    await use(place)
    with fleet(place):
        idle = [await _start() for _ in range(rounds)]
        db = floor.connect(f"{place}/bench.db")
        floor.fill(db, count, keys=1, task="brief")
        db.close()
        await app.ledger.put("nudge", "bench", "{}")  # a write of ours rings the bell
        while not (await app.ledger.count(Filter(status=Status.PROCESSING), "")).get((), 0):
            await asyncio.sleep(0.01)
        late = [await _start(concurrency_key=f"other-{n}") for n in range(rounds)]
        ended = await app.ledger.find(
            Filter(task="brief", status=Status.COMPLETED), Page(limit=PAGE_MAX)
        )
    await app.close()
    held = [(job.finished_at or 0) - (job.started_at or 0) for job in ended]
    return statistics.median(idle), statistics.median(held) / 1_000, late
