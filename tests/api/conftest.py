"""The API in this process, over its own file, with a worker beside it."""

import httpx
import pytest

from outlast import Job, Outlast
from outlast.api import create
from outlast.core.limits import LEASE_US
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY
from outlast.worker.config import PoolConfig
from outlast.worker.executors import Here
from outlast.worker.pool import Pool


def make_app():
    app = Outlast()

    @app.task
    async def add(job: Job, a: int, b: int = 0) -> int:
        """Add two numbers."""
        job.progress(1, 2, "half")
        await job.save("sum.txt", str(a + b).encode())
        return a + b

    @app.task(retries=0)
    async def fail(why: str) -> None:
        raise ValueError(why)

    return app


@pytest.fixture
async def app(tmp_path):
    made = make_app()
    made.configure(
        Settings(
            ledger=f"sqlite:///{tmp_path}/ledger.db",
            blobs=str(tmp_path / "blobs"),
            queue_settings={"tiny": {"max_depth": 2}},
        )
    )
    return made


@pytest.fixture
async def api(app):
    asgi = create(app)
    async with (
        asgi.router.lifespan_context(asgi),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(asgi), base_url="http://localhost:8000"
        ) as client,
    ):
        yield client


@pytest.fixture
async def worker(app, api):
    import asyncio

    await app.ledger.put("worker", "w", '{"id": "w", "pid": 1, "queues": []}', ttl_us=LEASE_US)
    pool = Pool(
        app.ledger, app.blobs, Here(app.tasks), PoolConfig("w", ("default", "tiny")),
        clock=CLOCK, entropy=ENTROPY,
    )  # fmt: skip
    running = asyncio.create_task(pool.run())
    yield pool
    pool.drain()
    await running
