"""Fleets on PostgreSQL and a broker, while the broker loses all it has, or hangs."""

import asyncio
import os
import signal
from pathlib import Path

import jobs
import pytest

from outlast.core.job import Filter
from outlast.core.limits import SECOND
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from tests.worker.rig import fleets, until

JOBS = Path(jobs.__file__)
BACKLOG = 2_000


@pytest.fixture(params=["rabbitmq", "redis"])
def house(request):
    return request.getfixturevalue(f"{request.param}_house")


@pytest.fixture
def start(tmp_path, migrated, house):
    """Start workers that hear from the broker."""
    with fleets(tmp_path, JOBS, migrated) as start:
        yield lambda **how: start(extra=["--broker", house.server.url], **how)


@pytest.fixture
async def app(tmp_path, migrated, house):
    app = Outlast(ledger=migrated, blobs=f"{tmp_path}/blobs", broker=house.server.url)

    @app.task
    async def add(a: int, b: int) -> int: ...

    app.add = add
    async with app:
        yield app


async def all_done(app, count):
    return (await app.ledger.count(Filter(status=Status.COMPLETED), "")).get((), 0) == count


async def submitted(app, house, count):
    """Submit jobs, and wait until the broker has their tickets."""
    for start in range(0, count, 500):
        calls = [{"a": number, "b": 1} for number in range(start, start + 500)]
        await app.add.submit_batch(calls)
    broker = await house.open()
    async with asyncio.timeout(60):
        while await broker.depth(["default"]) != {"default": count}:
            pass
    await broker.close()


@pytest.mark.fault("F21")
async def test_a_backlog_outlives_the_loss_of_all_its_tickets(app, start, house):
    await submitted(app, house, BACKLOG)
    await house.wipe()

    start()

    await until(app.ledger, lambda: all_done(app, BACKLOG))


@pytest.mark.fault("F22")
async def test_jobs_are_taken_and_done_while_the_broker_hangs(app, start, house):
    start()
    assert await (await app.add.submit(1, 1)).result(timeout=20) == 2
    os.kill(house.server.pid, signal.SIGSTOP)

    try:
        async with asyncio.timeout(2):
            handles = [await app.add.submit(number, 1) for number in range(50)]
        for number, handle in enumerate(handles):
            assert await handle.result(timeout=20) == number + 1
    finally:
        os.kill(house.server.pid, signal.SIGCONT)

    async with asyncio.timeout(60):
        while not await woken(app):
            pass


async def woken(app):
    """Whether five jobs in a row start sooner than any sweep would find them."""
    for number in range(5):
        handle = await app.add.submit(number, 1)
        await handle.result(timeout=20)
        row = await handle.record()
        if row.started_at - row.submitted_at > 1.5 * SECOND:
            return False
    return True
