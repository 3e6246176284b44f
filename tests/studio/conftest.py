"""Run the studio's jobs on the real engine, in memory."""

import sys
from pathlib import Path

import pytest

from outlast.sdk.task_handle import TaskHandle
from outlast.testing import testing

STUDIO = Path(__file__).resolve().parents[2] / "examples/studio"
sys.path.insert(0, str(STUDIO))


@pytest.fixture(scope="session")
def samples():
    return STUDIO / "samples"


@pytest.fixture
def tasks():
    """Return the studio's tasks by their names."""
    from app import app

    return {name: TaskHandle(app, task) for name, task in app.tasks.items()}


@pytest.fixture
async def t():
    from app import app

    async with testing(app) as bench:
        yield bench


@pytest.fixture
def run(t, tasks):
    """Run one job of a task for as long as it needs, and return it as it then stands."""

    async def done(name, **args):
        handle = await tasks[name].submit(**args)
        await t.drain()
        return t.job(handle)

    return done
