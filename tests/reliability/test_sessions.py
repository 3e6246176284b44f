"""A supervisor's death is seen from another machine by its lock, and no living one's is."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from outlast.core.limits import LEASE_US
from outlast.ledger import open_ledger
from outlast.ledger.postgres import watch
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.watch import SessionWatch
from outlast.testing.postgres import IMMEDIATE, private_postgres
from tests.postgres import PLAIN

LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
SESSION = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
AND (classid::bigint << 32) | objid::bigint
  = hashtextextended('outlast supervisor supervisor of first', 0)
"""


@pytest.fixture
async def ledger(migrated):
    opened = open_ledger(migrated)
    for name in ("first", "second"):
        await opened.put("worker", name, "{}", ttl_us=LEASE_US)
    yield opened
    await opened.close()


@asynccontextmanager
async def supervisor(url, holder, buried):
    """Watch as a supervisor does, until it dies without a goodbye."""

    async def bury(holders):
        buried.put_nowait(holders)

    one = SessionWatch(Address.read(url), f"supervisor of {holder}", bury)
    one.list_holders([holder])
    running = asyncio.ensure_future(one.run())
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def two(url, buried):
    """Two supervisors that hold their locks."""
    async with supervisor(url, "second", buried), supervisor(url, "first", asyncio.Queue()) as one:
        await held(url, 2)
        yield one


async def held(url, count):
    bare = await asyncpg.connect(url)
    async with asyncio.timeout(20):
        while await bare.fetchval(LOCKS) != count:
            pass
        while await bare.fetchval("SELECT count(*) FROM outlast.doc WHERE kind = 'supervisor'") < 2:
            pass
    await bare.close()


async def test_a_dead_supervisors_workers_are_given_up_within_two_seconds(migrated, ledger):
    buried = asyncio.Queue()
    async with supervisor(migrated, "second", buried):
        async with supervisor(migrated, "first", asyncio.Queue()):
            await held(migrated, 2)

        async with asyncio.timeout(10):  # two seconds on a machine that has nothing else to do
            assert await buried.get() == ["first"]


async def test_one_that_left_in_good_order_is_not_buried(migrated, ledger):
    buried = asyncio.Queue()
    async with supervisor(migrated, "second", buried):
        async with supervisor(migrated, "first", asyncio.Queue()) as one:
            await held(migrated, 2)
        await one.let_go()

        assert not await came(buried)


async def came(buried):
    try:
        async with asyncio.timeout(watch.LOOK_S * (watch.LOOKS + 2)):
            return await buried.get()
    except TimeoutError:
        return None


async def test_a_living_one_whose_session_is_ended_takes_its_lock_again(migrated, ledger):
    buried = asyncio.Queue()
    async with two(migrated, buried):
        bare = await asyncpg.connect(migrated)
        await bare.fetch(SESSION)
        await bare.close()

        assert not await came(buried)
        await held(migrated, 2)


async def test_without_a_second_look_a_living_one_is_buried(migrated, ledger, monkeypatch):
    monkeypatch.setattr(watch, "LOOKS", 1)
    monkeypatch.setattr(watch, "LOOK_S", 0.02)
    monkeypatch.setattr(SessionWatch, "_hold", slowly(SessionWatch._hold))
    buried = asyncio.Queue()
    async with two(migrated, buried):
        bare = await asyncpg.connect(migrated)
        async with asyncio.timeout(30):
            while buried.empty():
                await bare.fetch(SESSION)
        await bare.close()


def slowly(hold):
    async def late(self, session):
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.2)
        await hold(self, session)

    return late


async def test_a_restart_of_the_server_buries_nobody():
    with private_postgres() as server:
        url = server.create("restarted") + PLAIN
        ledger = open_ledger(url)
        await ledger.migrate()
        buried = asyncio.Queue()
        async with two(url, buried):
            await asyncio.to_thread(server.restart, IMMEDIATE)

            assert not await came(buried)
        await ledger.close()
