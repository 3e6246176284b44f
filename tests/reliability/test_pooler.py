"""Behind PgBouncer in transaction mode every session is another's: the laws hold there too."""

import pytest

from outlast.core.errors import UnavailableError
from outlast.core.job import Filter
from outlast.core.limits import LEASE_US
from outlast.ledger import open_ledger
from outlast.ledger.postgres import connection
from outlast.ledger.postgres.copied import COPIED_MIN
from outlast.ledger.postgres.statements import sql
from tests.conftest import needs_pooler
from tests.ledger.test_races import LEDGERS, RACES
from tests.ledger_fixtures import job
from tests.reliability.pgbouncer import PROGRAM, pgbouncer


@pytest.fixture
async def pooled(migrated):
    """Several ledgers behind one pooler."""
    needs_pooler(PROGRAM)
    async with pgbouncer(migrated) as url:
        opened = [open_ledger(url) for _ in range(LEDGERS)]
        for n, ledger in enumerate(opened):
            await ledger.put("worker", f"w{n}", "{}", ttl_us=LEASE_US)
        yield opened
        for ledger in opened:
            await ledger.close()


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
async def test_a_race_is_decided_behind_a_pooler(race, pooled):
    await race(pooled)


async def test_many_jobs_are_copied_in_behind_a_pooler(pooled):
    jobs = [job() for _ in range(COPIED_MIN)]
    await pooled[0].insert([jobs[-1]])

    again = await pooled[1].insert(jobs)
    others = await pooled[2].insert([job() for _ in range(COPIED_MIN)])

    assert [one.outcome for one in again] == ["created"] * (COPIED_MIN - 1) + ["duplicate"]
    assert {one.outcome for one in others} == {"created"}
    assert (await pooled[0].count(Filter(), ""))[()] == 2 * COPIED_MIN


async def test_a_pooler_is_noticed_and_gets_no_setting_of_a_session(pooled):
    session = await connection.connect(pooled[0].address)
    (setting,) = await session.connection.fetchrow("SHOW lock_timeout")
    await connection.close(session)

    assert session.is_pooled
    assert setting == "0"


async def test_statements_of_other_sessions_are_caught(pooled, monkeypatch):
    """A pooler that is taken for the server is given statements it hands to others."""
    own = {"is_own": "SELECT 1"}
    monkeypatch.setattr(connection, "sql", lambda name: own.get(name) or sql(name))

    with pytest.raises((UnavailableError, AssertionError)):
        await RACES["each_is_claimed_once"](pooled)
