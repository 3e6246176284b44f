"""PostgreSQL that restarts, stalls or is far away: nothing is lost, and nothing is done twice."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from outlast.cli.server_checks import of_server
from outlast.core import transition as tr
from outlast.core.errors import UnavailableError
from outlast.core.job import Filter, NewJob, Page, Want, lease_of
from outlast.core.limits import LEASE_US, SECOND
from outlast.ledger import open_ledger
from outlast.ledger.postgres import bell, connection, pool, schema
from outlast.ledger.postgres.statements import migrations
from outlast.ledger.steps import Step
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.testing.postgres import IMMEDIATE, private_postgres
from outlast.upkeep import loop
from outlast.upkeep.loop import Upkeep
from tests.postgres import PLAIN
from tests.reliability.network import network

RESTARTS = 4
ALL = Page(limit=100_000)


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "t", **fields})


@asynccontextmanager
async def ledgers(*urls):
    opened = [open_ledger(url) for url in urls]
    await opened[0].migrate()
    for ledger in opened:
        await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    try:
        yield opened
    finally:
        for ledger in opened:
            await ledger.close()


@asynccontextmanager
async def bare(url):
    opened = await asyncpg.connect(url)
    try:
        yield opened
    finally:
        if not opened.is_closed():
            await opened.close()


async def persistent(ask):
    """Ask until there is an answer, as every loop of the product does."""
    while True:
        try:
            return await ask()
        except UnavailableError:
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.05)


async def work(ledger, until):
    """Claim and complete as a worker does, giving back what a lost answer left astray."""
    while not until.is_set():
        leases = await persistent(lambda: ledger.claim(Want("w", ("default",), 20)))
        held = await persistent(lambda: ledger.find(Filter(holder="w"), ALL))
        known = {lease.id: lease for lease in leases}
        astray = [lease_of(row) for row in held if row.id not in known]
        changes = [tr.completed(lease, "1") for lease in (*leases, *astray)]
        if changes:
            await persistent(lambda changes=changes: ledger.commit(changes))
        else:
            await ledger.bell.wait(0.05)


@pytest.mark.fault("F27")
async def test_restarts_in_the_middle_of_everything_lose_and_double_nothing():
    with private_postgres() as server:
        url = server.create("restarts") + PLAIN
        async with ledgers(url, url) as (client, worker):
            over, acked = asyncio.Event(), []

            async def submit():
                while not over.is_set():
                    asked = job()
                    await persistent(lambda asked=asked: client.insert([asked]))
                    acked.append(asked.id)

            tasks = [asyncio.ensure_future(submit()) for _ in range(8)]
            tasks.append(asyncio.ensure_future(work(worker, over)))
            for _ in range(RESTARTS):
                before = len(acked)
                while len(acked) < before + 100:  # it works again, without a hand
                    await client.bell.wait(0.05)
                await asyncio.to_thread(server.restart, IMMEDIATE)
            over.set()
            await asyncio.gather(*tasks)
            done = asyncio.Event()
            rest = asyncio.ensure_future(work(worker, done))
            while await client.count(Filter(), "queue") != {("default", "completed"): len(acked)}:
                await client.bell.wait(0.1)
            done.set()
            await rest

            rows = await client.find(Filter(), ALL)
            ends = await client.history(None, limit=10**6, type="completed")
            assert {row.id for row in rows} == set(acked)
            assert sorted(event.job_id for event in ends) == sorted(acked)


@pytest.mark.fault("F29")
async def test_without_a_connection_left_submits_fail_fast_and_leases_are_renewed():
    with private_postgres(
        {"max_connections": "12", "superuser_reserved_connections": "0"}
    ) as server:
        url = server.create("crowded")
        async with ledgers(url) as (ledger,):
            assert await ledger.extend(["w"], LEASE_US) == []
            crowd, refusals = [], 0
            while refusals < 20:  # who has just left needs a moment to be gone
                try:
                    crowd.append(await asyncpg.connect(url))
                except asyncpg.TooManyConnectionsError:
                    refusals += 1
            late = open_ledger(url)

            async with asyncio.timeout(5):
                with pytest.raises(UnavailableError, match="no connection left"):
                    await late.insert([job()])
            assert await ledger.extend(["w"], LEASE_US) == []

            for one in crowd:
                await one.close()
            (made,) = await persistent(lambda: late.insert([job()]))
            assert made.outcome == "created"
            await late.close()


@pytest.mark.fault("F30")
async def test_an_old_transaction_slows_no_claim_by_much_and_is_told(migrated):
    async with ledgers(migrated) as (ledger,), bare(migrated) as holder:
        await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await holder.execute("SELECT count(*) FROM outlast.job")
        took = []
        for _ in range(40):
            await ledger.insert([job() for _ in range(100)])
            start = CLOCK.elapsed_us()
            leases = await ledger.claim(Want("w", ("default",), 100))
            took.append(CLOCK.elapsed_us() - start)
            await ledger.commit([tr.completed(lease, "1") for lease in leases])
        facts = await ledger.check()

    assert sorted(took)[len(took) // 2] < 100_000
    told = {check.name: check for check in of_server({**facts, "oldest_transaction_s": "301"})}
    assert float(facts["oldest_transaction_s"]) >= 0
    assert not told["transactions"].ok


@pytest.mark.fault("F31")
async def test_a_locked_table_stops_work_for_a_while_and_rescues_nobody(migrated, monkeypatch):
    monkeypatch.setattr(connection, "LOCK_MS", 300)
    async with ledgers(migrated) as (ledger,), bare(migrated) as holder:
        await ledger.insert([job()])
        (lease,) = await ledger.claim(Want("w", ("default",), 1))
        await holder.execute("BEGIN; LOCK TABLE outlast.job IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(UnavailableError, match="busy"):
            await ledger.claim(Want("w", ("default",), 1))
        renewed = await ledger.extend(["w"], LEASE_US)
        await holder.execute("COMMIT")

        assert renewed == []
        assert await ledger.expired(10) == []
        (verdict,) = await ledger.commit([tr.completed(lease, "1")])
        assert verdict.accepted


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.us = CLOCK.now_us()

    def now_us(self):
        return self.us

    elapsed_us = now_us


async def rescued_after_a_stall(url):
    """Let nobody reach the ledger for so long that a lease runs out; return whether it is taken."""
    clock = Hands()
    async with ledgers(url) as (ledger,):
        upkeep = Upkeep(ledger, clock=clock, entropy=ENTROPY)
        await ledger.insert([job()])
        (lease,) = await ledger.claim(Want("w", ("default",), 1))
        await upkeep.tick()
        await ledger.put("worker", "w", "{}", ttl_us=-1)
        clock.us += 40 * SECOND

        await upkeep.tick()

        (row,) = await ledger.get([lease.id])
        return (row.token, row.holder) != (lease.token, "w")


@pytest.mark.fault("F31")
async def test_after_the_ledger_was_away_the_living_get_the_time_to_say_so(migrated):
    assert not await rescued_after_a_stall(migrated)


async def test_upkeep_without_patience_is_caught(migrated, monkeypatch):
    monkeypatch.setattr(loop, "HEARTBEAT_US", 3_600 * SECOND)

    assert await rescued_after_a_stall(migrated)


@pytest.mark.fault("F33")
async def test_a_wake_up_that_never_comes_costs_a_sweep_and_the_line_is_made_anew(
    migrated, monkeypatch
):
    monkeypatch.setattr(bell, "PING_S", 0.2)
    monkeypatch.setattr(bell, "PING_TIMEOUT_S", 0.2)
    async with network(migrated) as between, ledgers(migrated, between.url) as (near, far):
        await far.bell.wait(0)
        await heard(near, far)
        between.answers.clear()
        await near.put("k", "1", "{}")
        await far.bell.wait(0.3)  # a sweep

        between.reset()
        between.answers.set()

        await heard(near, far)


async def heard(near, far):
    """Ring until it is heard: the connection may still be in the making."""
    async with asyncio.timeout(30):
        while True:
            await near.put("k", "1", "{}")
            start = CLOCK.elapsed_us()
            await far.bell.wait(1)
            if CLOCK.elapsed_us() - start < SECOND // 2:
                return


@pytest.mark.fault("F34")
async def test_a_deadlock_is_tried_again_inside(migrated):
    async with ledgers(migrated) as (ledger,), bare(migrated) as other:
        made = sorted([job(), job()], key=lambda one: one.id)
        await ledger.insert(made)
        leases = sorted(await ledger.claim(Want("w", ("default",), 2)), key=lambda one: one.id)
        await other.execute("SET deadlock_timeout = '60s'")  # so that it is not the victim
        await other.execute("BEGIN")
        take = "SELECT FROM outlast.job WHERE id = $1 FOR UPDATE"
        await other.fetch(take, made[1].id)
        ours = asyncio.ensure_future(ledger.commit([tr.completed(one, "1") for one in leases]))
        while not await other.fetch("SELECT FROM pg_locks WHERE NOT granted"):
            pass

        await other.fetch(take, made[0].id)
        await other.execute("COMMIT")

        assert [verdict.accepted for verdict in await ours] == [True, True]


@pytest.mark.fault("F47")
async def test_answers_that_never_come_end_in_an_error_and_a_stale_worker_is_refused(
    migrated, monkeypatch
):
    monkeypatch.setattr(connection, "COMMAND_S", 0.5)
    async with network(migrated) as between, ledgers(migrated, between.url) as (near, far):
        await near.insert([job()])
        (lease,) = await far.claim(Want("w", ("default",), 1))
        between.answers.clear()

        with pytest.raises(UnavailableError):
            await far.extend(["w"], LEASE_US)
        await near.extend(["w"], 0)  # its time is up meanwhile
        (orphan,) = await near.expired(10)
        await near.commit([tr.lost(orphan, reason="silent", at="", dice=0.0)])
        between.reset()
        between.answers.set()

        (verdict,) = await persistent(lambda: far.commit([tr.completed(lease, "1")]))
        assert not verdict.accepted
        assert await persistent(lambda: far.extend(["w"], LEASE_US)) == ["w"]


@pytest.mark.fault("F48")
async def test_a_slow_network_changes_nothing_and_a_reset_leaves_no_half(migrated):
    async with network(migrated) as between, ledgers(between.url) as (ledger,):
        between.piece = 7
        await ledger.insert([job() for _ in range(5)])
        assert len(await ledger.find(Filter(), ALL)) == 5
        between.piece = 1_000
        for cut in (300, 3_000, 6_000):
            many = [job(args='{"text": "' + "x" * 200 + '"}') for _ in range(50)]
            between.cut_after = cut
            with pytest.raises(UnavailableError):
                await ledger.insert(many)
            stored = await persistent(lambda many=many: ledger.get([one.id for one in many]))
            assert len({row is None for row in stored}) == 1


@pytest.mark.fault("F58")
async def test_a_migration_under_load_fails_no_call_and_holds_none_up_for_long(
    database, monkeypatch
):
    async with ledgers(database, database) as (old, new):
        over, slowest = asyncio.Event(), 0

        async def load():
            nonlocal slowest
            while not over.is_set():
                start = CLOCK.elapsed_us()
                await old.insert([job()])
                leases = await old.claim(Want("w", ("default",), 5))
                await old.commit([tr.completed(lease, "1") for lease in leases])
                slowest = max(slowest, CLOCK.elapsed_us() - start)

        tasks = [asyncio.ensure_future(load()) for _ in range(8)]
        later = [*migrations(), Step(98, "ALTER TABLE outlast.job ADD COLUMN later integer")]
        monkeypatch.setattr(schema, "migrations", lambda: later)
        while (await old.count(Filter(), ""))[()] < 50:
            pass
        version = await new.migrate()
        before = (await old.count(Filter(), ""))[()]
        while (await old.count(Filter(), ""))[()] < before + 50:
            pass
        over.set()
        await asyncio.gather(*tasks)

        assert version == 98
        assert slowest < 3 * SECOND


async def test_patience_with_a_server_that_is_away_is_bounded(monkeypatch):
    monkeypatch.setattr(pool, "PATIENCE_US", 100_000)
    ledger = open_ledger("postgresql://ann@127.0.0.1:1/jobs")

    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError, match="can't be reached"):
            await ledger.insert([job()])
    await ledger.close()
