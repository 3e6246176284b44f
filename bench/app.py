"""The app under measurement: tasks that do nothing, or nothing for long."""

import asyncio
import os

from outlast import Backoff, Job, Outlast
from outlast.core.limits import SECOND
from outlast.system import CLOCK

app = Outlast()
BRIEF_S = 0.05


@app.task(queue="bench")
async def noop(n: int) -> int:
    return n


@app.task(queue="bench")
async def when(n: int) -> int:
    """Return the instant at which the handler started."""
    return CLOCK.now_us()


@app.task(queue="spike")
async def busy(n: int, seconds: float) -> int:
    """Take a slot for a while."""
    await asyncio.sleep(seconds)
    return n


@app.task(queue="bench")
async def brief(n: int) -> None:
    """Take a little while."""
    await asyncio.sleep(BRIEF_S)


@app.task(queue="bench", retries=10)
async def long(n: int) -> int:
    """Say who runs it, then run until killed."""
    await asyncio.sleep(600)
    return os.getpid()


async def _same(n: int) -> int:
    return n


@app.task(queue="bench", backoff=Backoff.constant(0))
async def stepped(job: Job, count: int) -> tuple[float, float]:
    """Return how many steps a second were stored, and how many were read back."""
    start = CLOCK.elapsed_us()
    for n in range(count):
        await job.step(f"step {n}", _same, n)
    rate = count * SECOND / (CLOCK.elapsed_us() - start)
    if job.attempt == 1:
        await job.remember("stored", rate)
        raise ConnectionError("the second attempt only reads")
    return await job.recall("stored"), rate


@app.task(queue="bench")
async def looped(job: Job, count: int, every: int | None) -> float:
    """Return how many items a second went through a loop that can go on; None: a plain one."""
    start = CLOCK.elapsed_us()
    if every is None:
        for n in range(count):
            job.check()
            job.progress(n, count)
    else:
        async for _ in job.resume(range(count), every=every):
            pass
    return count * SECOND / (CLOCK.elapsed_us() - start)
