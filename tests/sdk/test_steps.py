"""What a step's annotations promise."""

from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from outlast.core.errors import JobFailedError
from outlast.sdk.context import Job
from tests.worker.rig import AT_ONCE, DEADLINE_S, data_of, new_app, running

if TYPE_CHECKING:
    from somewhere import Missing


class Weather(BaseModel):
    degrees: float


def measure(at: "Missing", warm: bool = True) -> Weather:
    """A parameter whose type can't be evaluated here says nothing about the result."""
    return Weather(degrees=20.0 if warm else 0.0)


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


@pytest.mark.parametrize("fn", [measure, partial(measure, warm=True)])
async def test_a_replayed_step_gives_the_type_it_gave_at_first(app, fn):
    kinds = []

    @app.task(backoff=AT_ONCE)
    async def stepped(job: Job) -> str:
        kinds.append(type(await job.step("measure", fn, None)))
        if job.attempt == 1:
            raise ValueError("once more")
        return "done"

    handle = await stepped.submit()
    async with running(app):
        await handle.result(DEADLINE_S)

    assert kinds == [Weather, Weather]


async def test_an_annotation_that_means_nothing_is_told_before_the_step_runs(app):
    ran = []

    @app.task(retries=0)
    async def stepped(job: Job) -> None:
        def unknown() -> "Missing":
            ran.append(1)

        await job.step("measure", unknown)

    handle = await stepped.submit()
    async with running(app):
        with pytest.raises(JobFailedError, match=r"step 'measure'.*Missing"):
            await handle.result(DEADLINE_S)

    assert ran == []
    assert await data_of(app, handle, "step") == []
