"""Real connections that want the same: one of them gets it, and a race that is planted is seen."""

import asyncio

import asyncpg
import pytest
from ledger_fixtures import job

from outlast.core import transition as tr
from outlast.core.job import Filter, Page, Want
from outlast.core.limits import LEASE_US
from outlast.core.share import Limit
from outlast.core.status import Status
from outlast.core.unique import Sole
from outlast.ledger import open_ledger
from outlast.ledger.postgres import connection, write
from outlast.ledger.postgres.connection import close, connect
from outlast.ledger.postgres.statements import sql

LEDGERS = 4
DEFINITION = "SELECT pg_get_functiondef('outlast.claim'::regproc)"
WAITERS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def many(migrated):
    """Several ledgers on one database, each with connections of its own that are open."""
    opened = [open_ledger(migrated) for _ in range(LEDGERS)]
    for n, ledger in enumerate(opened):
        await ledger.put("worker", f"w{n}", "{}", ttl_us=LEASE_US)
        await asyncio.gather(*(ledger.now() for _ in range(4)))
    yield opened
    for ledger in opened:
        await ledger.close()


async def at_once(many, ask, times=1):
    """Let every ledger ask so many times at once; return all answers."""
    asked = [ask(ledger, n) for _ in range(times) for n, ledger in enumerate(many)]
    return [one for answer in await asyncio.gather(*asked) for one in answer]


def claim(limit):
    return lambda ledger, n: ledger.claim(Want(f"w{n}", ("default",), limit))


async def each_is_claimed_once(many):
    for _ in range(5):
        await many[0].insert([job() for _ in range(120)])
        leases = await at_once(many, claim(10), times=3)
        while more := await many[0].claim(Want("w0", ("default",), 100)):
            leases += more

        assert len(leases) == len({lease.id for lease in leases}) == 120
        assert {lease.token for lease in leases} == {1}


async def one_key_makes_one_job(many):
    for n in range(10):
        same = [job(key=f"k{n}", fingerprint="f") for _ in range(LEDGERS * 3)]
        made = await at_once(many, lambda ledger, _, same=same: ledger.insert([same.pop()]), 3)

        assert sorted(one.outcome for one in made) == ["created"] + ["duplicate"] * 11
        assert len({one.id for one in made}) == 1


async def one_intention_makes_one_job(many):
    for n in range(10):
        made = await at_once(many, lambda ledger, _, n=n: ledger.insert([job(sole=Sole(f"s{n}"))]))

        assert sorted(one.outcome for one in made) == ["created"] + ["existing"] * (LEDGERS - 1)


async def a_full_queue_takes_no_more(many):
    for n in range(5):
        bounded = {"queue": f"q{n}", "max_depth": 5}
        made = await at_once(many, lambda ledger, _, b=bounded: ledger.insert([job(**b)]), times=5)

        assert [one.outcome for one in made].count("created") == 5


async def no_more_run_than_the_limit_says(many):
    await many[0].put("limit", "task:t", Limit(concurrency=3).text())
    for _ in range(10):
        await many[0].insert([job(), job(), *(job(queue="other") for _ in range(6))])
        leases = await at_once(
            many,
            lambda ledger, n: ledger.claim(
                Want(f"w{n}", ("default", "other")[:: 1 - n % 2 * 2], 2)
            ),
        )

        assert len(leases) <= 3
        await many[0].commit([tr.completed(lease, "1") for lease in leases])
        rest = await many[0].find(Filter(status=Status.PENDING), Page(limit=100))
        await many[0].commit([tr.cancel(one.id, one.status, reason="r") for one in rest])


async def of_conflicting_ends_one_wins(many):
    for _ in range(5):
        await many[0].insert([job() for _ in range(20)])
        leases = await many[0].claim(Want("w0", ("default",), 20))
        error = {"type": "E", "message": "m", "retryable": False}
        ends = [
            [tr.completed(lease, "1") for lease in leases],
            [tr.cancelled(lease, "asked") for lease in reversed(leases)],
            [tr.lost(lease, reason="r", at="", dice=0.0) for lease in leases],
            [tr.failed(lease, error, backoff=None, dice=0.0) for lease in reversed(leases)],
        ]
        verdicts = await at_once(many, lambda ledger, n, ends=ends: ledger.commit(ends[n]))

        accepted = [verdict.id for verdict in verdicts if verdict.accepted]
        assert sorted(accepted) == sorted(lease.id for lease in leases)


async def a_claim_sees_the_limit_that_is_set_while_it_waits(many):
    await many[0].insert([job() for _ in range(5)])
    setter = await connect(many[0].address)
    try:
        async with setter.transaction():
            limit = ("limit", "task:t", Limit(concurrency=2).text())
            await write.put(setter, limit, None, None, None)
            claiming = asyncio.create_task(many[1].claim(Want("w1", ("default",), 5)))
            while not claiming.done() and not await setter.connection.fetchval(WAITERS):
                pass
        leases = await claiming
    finally:
        await close(setter)

    assert len(leases) == 2


RACES = {
    race.__name__: race
    for race in (
        each_is_claimed_once, one_key_makes_one_job, one_intention_makes_one_job,
        a_full_queue_takes_no_more, no_more_run_than_the_limit_says, of_conflicting_ends_one_wins,
        a_claim_sees_the_limit_that_is_set_while_it_waits,
    )
}  # fmt: skip
NO_LOCK = "SELECT WHERE :names::text[] IS NULL"
PLANTED = {
    "keys that are judged side by side": ("lock", sql("lock"), NO_LOCK, one_key_makes_one_job),
    "limits that are judged side by side": (
        "lock", sql("lock"), NO_LOCK, no_more_run_than_the_limit_says,
    ),
    "depths that are counted side by side": (
        "lock", sql("lock"), NO_LOCK, a_full_queue_takes_no_more,
    ),
    "any status": (
        "transition", "job.status = c.source AND", "c.source <> '' AND",
        of_conflicting_ends_one_wins,
    ),
}  # fmt: skip


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
async def test_in_a_race(race, many):
    await race(many)


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_race_is_seen(name, many, monkeypatch):
    file, good, bad, race = PLANTED[name]
    assert good in sql(file)
    monkeypatch.setattr(
        connection,
        "sql",
        lambda asked: sql(asked).replace(good, bad) if asked == file else sql(asked),
    )

    with pytest.raises(AssertionError):
        await again_and_again(race, many)


IN_THE_FUNCTION = {
    "claims that lock nothing": ("FOR UPDATE SKIP LOCKED", "", each_is_claimed_once),
    "claims beside a change of limits": (
        "pg_advisory_xact_lock_shared", "abs",
        a_claim_sees_the_limit_that_is_set_while_it_waits,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_FUNCTION)
async def test_a_race_planted_in_the_usual_claim_is_seen(name, many):
    good, bad, race = IN_THE_FUNCTION[name]
    session = await connect(many[0].address)
    function = await session.connection.fetchval(DEFINITION)
    assert good in function
    await session.script(function.replace(good, bad))

    try:
        with pytest.raises(AssertionError):
            await again_and_again(race, many)
    finally:
        await session.script(function)
        await close(session)


async def again_and_again(race, many):
    for _ in range(10):
        await race(many)


async def test_a_claim_that_could_not_see_a_new_limit_is_left_to_be_judged(many, migrated):
    await many[0].insert([job()])
    db = await asyncpg.connect(migrated)

    async with db.transaction(isolation="repeatable_read"):
        found = await db.fetch("SELECT number FROM outlast.claim('{default}', 'w0', NULL, 10)")
    usual = await db.fetch("SELECT number FROM outlast.claim('{default}', 'w0', NULL, 10)")
    await db.close()

    assert [row["number"] for row in found] == [None]
    assert [row["number"] for row in usual] == [1]
