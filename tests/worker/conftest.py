"""Workers in this process, and fleets of real processes, on a file of their own."""

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import jobs
import pytest

from outlast.core.limits import LEASE_US
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.deathwatch import MARK
from outlast.upkeep.loop import Upkeep
from outlast.worker.cage import Cages
from outlast.worker.config import PoolConfig
from outlast.worker.executors import Executors
from outlast.worker.pool import Pool
from tests.worker.rig import fleets

JOBS = Path(jobs.__file__)


@pytest.fixture
async def app(tmp_path):
    jobs.app.configure(
        Settings(ledger=f"sqlite:///{tmp_path}/ledger.db", blobs=str(tmp_path / "blobs"))
    )
    await jobs.app.open()
    yield jobs.app
    await jobs.app.close()


@pytest.fixture
def working(app):
    """Give a pool with upkeep for as long as a block lasts."""

    @contextlib.asynccontextmanager
    async def run(holder="w", tasks=None, cgroup="auto", **config):
        await app.ledger.put("worker", holder, "{}", ttl_us=LEASE_US)
        settings = json.dumps(asdict(app.settings))
        cell = [sys.executable, "-m", "outlast.cli.child", "job", str(JOBS), settings]
        cages = Cages({MARK: holder}, cgroup)
        pool = Pool(
            app.ledger, app.blobs, Executors(tasks or app.tasks, cages, cell),
            PoolConfig(holder, ("default",), **config), clock=CLOCK, entropy=ENTROPY,
        )  # fmt: skip
        upkeep = asyncio.create_task(Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY).run())
        running = asyncio.create_task(pool.run())
        try:
            yield pool
        finally:
            pool.drain()
            await running
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)

    return run


@pytest.fixture
def fleet(tmp_path):
    """Start `outlast worker` as a user does; whatever is left at the end is killed."""
    with fleets(tmp_path, JOBS) as start:
        yield start
