"""Jobs that come in great numbers are copied in, and are what they would have been one by one."""

import json
from dataclasses import asdict

import pytest
from ledger_fixtures import NOW, job

from outlast.core.job import Filter, Page
from outlast.ledger import open_ledger
from outlast.ledger.postgres import insert
from outlast.ledger.postgres.copied import COPIED_MIN

NASTY = 'a\tb\\N\\."\n,{}é\U0001f600'
KINDS = (
    {},
    {"queue": NASTY, "task": NASTY, "args": json.dumps({"a": NASTY}), "tags": json.dumps([NASTY])},
    {"delay_us": 5_000_000, "priority": -3, "max_attempts": 9},
    {"run_at_us": NOW - 1, "expires_in_us": 7, "timeout_us": 8},
    {"run_at_us": NOW + 1, "deadline_us": 9, "notify": '[{"url":"x"}]'},
    {"tenant": "acme", "concurrency_key": "k"},
)


@pytest.fixture
async def ledger(migrated):
    opened = open_ledger(migrated)
    yield opened
    await opened.close()


def many(first):
    """Make jobs of each kind, and then enough of the plainest kind."""
    rest = COPIED_MIN - len(KINDS)
    return [job(id=f"{first}-{n}", **kind) for n, kind in enumerate((*KINDS, *[{}] * rest))]


async def told_of(ledger, made):
    """Return all that is kept of some of the jobs, but for what names them."""
    own = {"id", "number", "key"}
    return [
        (
            {name: value for name, value in asdict(record).items() if name not in own},
            [(e.seq, e.type, e.at, json.loads(e.data)) for e in await ledger.history(record.id)],
        )
        for record in await ledger.get([one.id for one in made[: len(KINDS) + 1]])
    ]


async def test_a_copied_job_is_what_an_inserted_one_is(ledger, monkeypatch):
    copied, inserted = many("copied"), many("inserted")

    one = await ledger.insert(copied, now=NOW)
    with monkeypatch.context() as changed:
        changed.setattr(insert, "COPIED_MIN", 1_000_000)
        other = await ledger.insert(inserted, now=NOW)

    assert await told_of(ledger, copied) == await told_of(ledger, inserted)
    assert [(made.outcome, made.at_us) for made in one] == [("created", NOW)] * COPIED_MIN
    assert [(made.outcome, made.at_us) for made in other] == [("created", NOW)] * COPIED_MIN


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("again", [0, COPIED_MIN - 1], ids=["first", "last"])
async def test_a_job_that_is_there_already_is_a_duplicate_among_many(ledger, again, atomic):
    jobs = [job(queue="q") for _ in range(COPIED_MIN)]
    await ledger.insert([jobs[again]], now=NOW)

    made = await ledger.insert(jobs, atomic=atomic, now=NOW + 1)

    assert [n for n, one in enumerate(made) if one.outcome == "duplicate"] == [again]
    assert (await ledger.count(Filter(queue="q"), ""))[()] == COPIED_MIN
    assert len(await ledger.history(None, limit=2 * COPIED_MIN)) == COPIED_MIN


async def test_a_job_that_comes_twice_among_many_is_made_once(ledger):
    jobs = [job() for _ in range(COPIED_MIN)]

    made = await ledger.insert([*jobs, jobs[3]], now=NOW)

    assert [one.outcome for one in made] == ["created"] * COPIED_MIN + ["duplicate"]
    assert (await ledger.count(Filter(), ""))[()] == COPIED_MIN


async def test_many_are_claimed_in_the_order_in_which_they_came(ledger):
    jobs = [job() for _ in range(COPIED_MIN)]

    await ledger.insert(jobs)

    found = await ledger.find(Filter(), Page(limit=COPIED_MIN, oldest_first=True))
    assert [one.id for one in found] == [one.id for one in jobs]


async def test_of_many_that_are_refused_together_none_is_made(ledger):
    jobs = [job(queue="q", max_depth=3) for _ in range(4)]

    made = await ledger.insert([*(job() for _ in range(COPIED_MIN)), *jobs], atomic=True)

    assert made[-1].outcome == "full"
    assert not await ledger.find(Filter(), Page())
