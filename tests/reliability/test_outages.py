"""PostgreSQL that goes away under real processes, or stands still, or sits behind a pooler."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from outlast.core.errors import UnavailableError
from outlast.core.job import Filter, NewJob, Want
from outlast.core.limits import LEASE_US, SECOND
from outlast.ledger import open_ledger
from outlast.ledger.postgres import connection, store
from outlast.ledger.postgres.pool import Pool
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.upkeep import loop
from outlast.upkeep.loop import Upkeep
from tests.ledger.test_races import RACES
from tests.reliability.network import network


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "plain", "args": '{"n":1}', **fields})


@asynccontextmanager
async def ledgers(url, count):
    """Several ledgers on one database, each with connections of its own, and its worker."""
    opened = [open_ledger(url) for _ in range(count)]
    await opened[0].migrate()
    for n, ledger in enumerate(opened):
        await ledger.put("worker", f"w{n}", "{}", ttl_us=LEASE_US)
    try:
        yield opened
    finally:
        for ledger in opened:
            await ledger.close()


@pytest.fixture
async def strict(database):
    """The URL of a database whose owner likes each transaction to see one snapshot."""
    bare = await asyncpg.connect(database)
    name = await bare.fetchval("SELECT current_database()")
    await bare.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    )
    await bare.close()
    return database


@pytest.mark.fault("F34")
@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
async def test_races_are_decided_where_transactions_see_one_snapshot_by_default(race, strict):
    async with ledgers(strict, 4) as many:
        await race(many)


async def test_transactions_that_see_what_was_before_the_lock_are_caught(strict, monkeypatch):
    begin = connection.Session.transaction.__wrapped__
    monkeypatch.setattr(begin, "__defaults__", ("BEGIN ISOLATION LEVEL REPEATABLE READ",))
    async with ledgers(strict, 4) as many:
        with pytest.raises(AssertionError):
            await RACES["a_full_queue_takes_no_more"](many)


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.us = CLOCK.now_us()

    def now_us(self):
        return self.us

    elapsed_us = now_us


async def rescued_by_a_judgement_that_stood_still(url, monkeypatch):
    """Let nothing get through from when leases are to be judged until one is over."""
    clock = Hands()
    async with ledgers(url, 1) as (ledger,):
        upkeep = Upkeep(ledger, clock=clock, entropy=ENTROPY)
        await ledger.insert([job()])
        (lease,) = await ledger.claim(Want("w0", ("default",), 1))
        judge = ledger.expired

        async def late(limit, *, now=None):
            await ledger.put("worker", "w0", "{}", ttl_us=-1)
            clock.us += 40 * SECOND
            return await judge(limit, now=now)

        monkeypatch.setattr(ledger, "expired", late)
        await upkeep.tick()
        monkeypatch.undo()
        await upkeep.tick()

        (row,) = await ledger.get([lease.id])
        return (row.token, row.holder) != (lease.token, "w0")


@pytest.mark.fault("F31")
async def test_a_judgement_that_stood_still_rescues_nobody(migrated, monkeypatch):
    assert not await rescued_by_a_judgement_that_stood_still(migrated, monkeypatch)


async def test_judging_by_the_time_of_the_answer_is_caught(migrated, monkeypatch):
    async def judged(upkeep):
        return loop._NEVER if upkeep._is_patient() else None

    with monkeypatch.context() as planted:
        planted.setattr(Upkeep, "_judged", judged)
        assert await rescued_by_a_judgement_that_stood_still(migrated, pytest.MonkeyPatch())


@pytest.mark.fault("F33")
async def test_a_heartbeat_gives_a_half_open_connection_up_in_time(migrated, monkeypatch):
    monkeypatch.setattr(store, "BEAT_S", 0.3)
    async with network(migrated) as between, ledgers(migrated, 1):
        ledger = open_ledger(between.url)
        assert await ledger.extend(["w0"], LEASE_US) == []
        between.swallow()

        async with asyncio.timeout(5):
            with pytest.raises(UnavailableError, match="in time"):
                await ledger.extend(["w0"], LEASE_US)
            assert await ledger.extend(["w0"], LEASE_US) == []
        await ledger.close()


async def closed_while_nothing_comes_through(url):
    """Close a ledger whose connections went dead with calls under way; say how these ended."""
    async with network(url) as between, ledgers(url, 1):
        ledger = open_ledger(between.url)
        await asyncio.gather(*(ledger.insert([job()]) for _ in range(8)))
        await ledger.extend(["w0"], LEASE_US)
        await ledger.bell.wait(0)
        await asyncio.gather(*(ledger.count(Filter(), "") for _ in range(4)))
        between.swallow()
        calls = [
            asyncio.ensure_future(ask)
            for ask in (
                ledger.insert([job()]),
                ledger.claim(Want("w0", ("default",), 1)),
                ledger.extend(["w0"], LEASE_US),
                ledger.now(),
            )
        ]
        await asyncio.wait(calls, timeout=0.1)

        try:
            async with asyncio.timeout(store.CLOSE_S + 4):
                await ledger.close()
        finally:
            between.reset()
            ends = await asyncio.gather(*calls, return_exceptions=True)
        return ends


@pytest.mark.fault("F33")
async def test_a_close_waits_for_no_answer_that_never_comes(migrated, monkeypatch):
    monkeypatch.setattr(store, "CLOSE_S", 0.5)

    ends = await closed_while_nothing_comes_through(migrated)

    assert [type(end) for end in ends] == [UnavailableError] * 4
    assert all("ask again" in str(end) for end in ends)


async def test_a_close_that_waits_for_every_answer_is_caught(migrated, monkeypatch):
    monkeypatch.setattr(store, "CLOSE_S", 0.5)
    monkeypatch.setattr(connection, "COMMAND_S", 15)
    close = Pool.close
    monkeypatch.setattr(Pool, "close", lambda pool, _: close(pool, None))

    with pytest.raises(TimeoutError):
        await closed_while_nothing_comes_through(migrated)


async def test_a_close_still_commits_what_was_accepted(migrated):
    async with ledgers(migrated, 1) as (look,):
        ledger = open_ledger(migrated)
        calls = [asyncio.ensure_future(ledger.insert([job()])) for _ in range(200)]
        await asyncio.wait(calls, timeout=0)

        await ledger.close()

        assert {made.outcome for (made,) in await asyncio.gather(*calls)} == {"created"}
        assert await look.count(Filter(), "") == {(): 200}
