"""What a job's progress says of its pace, on a clock that the task itself moves on."""

import pytest

from outlast.core.limits import SECOND
from outlast.sdk.context import Job
from outlast.system import CLOCK
from tests.worker.rig import AT_ONCE, DEADLINE_S, data_of, new_app, running


class TaskClock:
    """The monotonic clock of the tasks."""

    now_us = staticmethod(CLOCK.now_us)

    def __init__(self):
        self.us = 0

    def elapsed_us(self):
        return self.us


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


@pytest.fixture
def clock():
    return TaskClock()


async def told(app, clock, task):
    handle = await task.submit()
    async with running(app) as pool:
        pool._clock = clock
        await handle.result(DEADLINE_S)
    return await data_of(app, handle, "progress")


async def test_a_tracked_loop_tells_its_rate_and_the_time_left(app, clock):
    @app.task
    async def tracked(job: Job) -> None:
        for _ in job.track(range(100), "counting"):
            clock.us += SECOND // 2

    progress = await told(app, clock, tracked)

    assert (progress[0]["rate"], progress[0]["eta"]) == (None, None)
    assert {p["rate"] for p in progress} == {None, 2.0}
    assert all(p["eta"] == (100 - p["done"]) / 2 for p in progress if p["rate"])
    assert progress[-1]["eta"] == 0


async def test_a_resumed_loop_tells_the_pace_of_its_own_attempt(app, clock):
    attempts = []

    @app.task(backoff=AT_ONCE)
    async def resumed(job: Job) -> None:
        attempts.append(job.attempt)
        async for n in job.resume(range(1_000), every=100):
            if n == 900 and len(attempts) == 1:
                raise ConnectionError("gone")
            clock.us += SECOND if n >= 900 else SECOND // 100

    progress = await told(app, clock, resumed)

    last = [p for p in progress if p["done"] > 900]
    assert len(last) > 20
    assert {p["rate"] for p in last} == {None, 1.0}
    assert all(p["eta"] == 1_000 - p["done"] for p in last if p["rate"])


async def test_stored_steps_that_are_only_read_back_make_no_pace(app, clock):
    def work():
        clock.us += 10 * SECOND

    @app.task(backoff=AT_ONCE)
    async def stepped(job: Job) -> None:
        for n in job.track(range(60)):
            await job.step(f"part {n}", work)
            if n == 50 and job.attempt == 1:
                raise ConnectionError("gone")

    progress = await told(app, clock, stepped)

    assert {p["rate"] for p in progress} <= {None, 0.1}
    assert progress[-1]["rate"] == 0.1
