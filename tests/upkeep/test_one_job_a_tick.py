"""Exactly one job a tick, whatever nodes, clocks and people do."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from outlast.core import schedule as schedules
from outlast.core.errors import UnavailableError
from outlast.core.job import Filter, Page
from outlast.core.limits import DAY, HOUR, MINUTE, SECOND
from outlast.core.schedule import Fire, from_doc, to_doc
from outlast.ledger.sqlite import SqliteLedger
from outlast.upkeep.tick import Ticker
from tests.upkeep.rig import T0, Hands, fired, pass_time, put, read, schedule


async def storm(folder, seed, *, rounds=120, ticker=Ticker):
    """Three nodes on one file, each with a clock that jumps; return the ticks that have a job."""
    dice = random.Random(seed)
    real = Hands()
    clocks = [Hands() for _ in range(3)]
    ledgers = [SqliteLedger(str(folder / "storm.db"), clock=clock) for clock in clocks]
    try:
        await ledgers[0].migrate()
        for name, spec in {
            "often": {"every": "2s", "missed": dice.choice(["skip", "once"])},
            "cron": {"cron": "* * * * *", "missed": dice.choice(["once", "all"])},
        }.items():
            await put(ledgers[0], schedule(name, **spec))
        nodes = [ticker(ledger, clock) for ledger, clock in zip(ledgers, clocks, strict=True)]
        for number in range(rounds):
            real.turn(SECOND)
            for clock in clocks:
                clock.turn(SECOND)
                clock.now = real.now
                if dice.random() < 0.1 and number < rounds - 3:
                    clock.now += dice.choice([-DAY, -HOUR, -SECOND, SECOND, HOUR, DAY])
            dice.shuffle(nodes)
            await asyncio.gather(*(node.tick() for node in nodes))
        jobs, after = [], None
        while page := await ledgers[0].find(Filter(), Page(limit=500, after=after)):
            jobs += page
            after = page[-1].number
        return Counter(job.key for job in jobs), real.now
    finally:
        for ledger in ledgers:
            await ledger.close()


def expected_keys(end):
    often = [f"schedule:often@{schedules.to_rfc3339(T0 + n * 2 * SECOND)}" for n in range(1, 61)]
    cron = [f"schedule:cron@{schedules.to_rfc3339(T0 + n * MINUTE)}" for n in range(1, 3)]
    return {key for key in [*often, *cron] if key.partition("@")[2] <= schedules.to_rfc3339(end)}


@pytest.mark.slow
@pytest.mark.fault("F45", "F46")
@pytest.mark.parametrize("seed", range(4))
async def test_three_nodes_with_jumping_clocks_make_one_job_a_tick(tmp_path, seed):
    made, end = await storm(tmp_path, seed)

    assert set(made.values()) == {1}
    assert expected_keys(end) <= made.keys()


class Frail:
    """A ledger that a node loses before, or after, the n-th thing that it writes."""

    def __init__(self, ledger, number, *, after):
        self._ledger = ledger
        self._left = number
        self._after = after

    def __getattr__(self, name):
        real = getattr(self._ledger, name)
        if name not in {"insert", "put"}:
            return real

        async def frail(*args, **kwargs):
            self._left -= 1
            if self._left < 0 and not self._after:
                raise UnavailableError("killed")
            result = await real(*args, **kwargs)
            if self._left < 0:
                raise UnavailableError("killed")
            return result

        return frail


async def crashes(ledger, clock, ticker=Ticker):
    """Kill a node before and after everything that it writes; another one goes on."""
    await put(ledger, schedule(every="2s"))
    await ticker(ledger, clock).tick()
    for number in range(12):
        clock.turn(2 * SECOND)
        node = ticker(Frail(ledger, number % 4 // 2, after=number % 2 == 1), clock)
        with suppress(UnavailableError):
            await node.tick()
        await ticker(ledger, clock).tick()


@pytest.mark.fault("F46")
async def test_a_node_that_dies_between_two_writes_loses_and_repeats_no_tick(ledger, clock):
    await crashes(ledger, clock)

    assert await fired(ledger) == list(range(2, 25, 2))


async def test_an_edit_meanwhile_neither_loses_nor_repeats_the_tick(ledger, clock):
    await put(ledger, schedule(every="2s"))
    await Ticker(ledger, clock).tick()
    clock.turn(2 * SECOND)
    node = Ticker(Frail(ledger, 0, after=True), clock)  # it submits, and is gone

    with pytest.raises(UnavailableError):
        await node.tick()
    (doc,) = await ledger.docs("schedule", "s")
    other = replace(await read(ledger), job={**schedule().job, "args": '{"other": 1}'})
    assert await ledger.put("schedule", "s", to_doc(other), version=doc.version)
    await pass_time(ledger, clock, 2)

    assert await fired(ledger) == [2, 4]
    jobs = await ledger.find(Filter(), Page(oldest_first=True))
    assert [job.args for job in jobs] == ["{}", '{"other": 1}']


async def test_a_node_that_slept_for_a_month_repeats_no_tick(ledger, clock):
    await put(ledger, schedule(every="1d", missed="all"))
    await Ticker(ledger, clock).tick()
    stale = (await ledger.docs("schedule"))[0]
    await pass_time(ledger, clock, 40 * 86_400, step=HOUR)
    seen = await fired(ledger)
    ended = [job.id for job in await ledger.find(Filter(), Page(limit=100))]

    old = from_doc(stale.key, stale.doc)
    step = schedules.decide(old, old.next_at)  # what it was about to do
    assert isinstance(step, Fire)
    (made,) = await ledger.insert([step.job])

    assert made.outcome == "duplicate"
    assert made.id in ended
    assert await fired(ledger) == seen


@pytest.mark.parametrize("forget", ["the key", "the ID"])
async def test_key_and_id_each_keep_a_tick_from_being_repeated(ledger, clock, forget):
    await put(ledger, schedule(every="2s"))
    await Ticker(ledger, clock).tick()
    old = await read(ledger)
    clock.turn(2 * SECOND)
    await Ticker(ledger, clock).tick()

    job = schedules.decide(old, clock.now).job
    again = replace(job, key=None) if forget == "the key" else replace(job, id="x" * 36)
    (made,) = await ledger.insert([again])

    assert made.outcome == "duplicate"


class Keyless(Ticker):
    """A planted bug: the job of a tick is a job like any other."""

    numbers = iter(range(10**6))

    async def _bound(self, job):
        return replace(await super()._bound(job), key=None, id=f"{next(self.numbers):036}")


class Hasty(Ticker):
    """A planted bug: the record moves on first."""

    async def _fire(self, due, now):
        (doc,) = await self._ledger.docs("schedule", due.then.key)
        await self._ledger.put("schedule", due.then.key, to_doc(due.then), version=doc.version)
        return await super()._fire(due, now)


@pytest.mark.parametrize("mutant", [Keyless, Hasty])
async def test_a_planted_bug_is_caught_by_crashes(ledger, clock, mutant):
    await crashes(ledger, clock, mutant)

    ticks = [job.run_at for job in await ledger.find(Filter(), Page(limit=100, oldest_first=True))]
    assert sorted(ticks) != [T0 + n * SECOND for n in range(2, 25, 2)]


async def test_ticks_without_keys_are_caught_by_the_storm(tmp_path):
    made, end = await storm(tmp_path, 0, ticker=Keyless)

    assert not expected_keys(end) <= made.keys()
