"""A schedule's ticks become jobs, and one in trouble harms no other."""

import json
from dataclasses import replace

import pytest

from outlast.core.job import Filter, NewJob, Page
from outlast.core.limits import CATCH_UP_MAX, DAY, MINUTE, SECOND
from outlast.core.schedule import to_doc
from outlast.upkeep.tick import Ticker
from tests.upkeep.rig import T0, Hands, fired, pass_time, put, read, schedule


async def test_each_tick_has_its_job_at_its_time(ledger, clock):
    await put(ledger, schedule(every="2s", job={"queue": "q", "priority": 3}))

    await pass_time(ledger, clock, 10)

    assert await fired(ledger) == [2, 4, 6, 8, 10]
    (job,) = await ledger.find(Filter(), Page(limit=1))
    assert (job.task, job.queue, job.priority) == ("t", "q", 3)
    assert job.key == "schedule:s@2027-01-15T08:00:10.000000Z"
    state = await read(ledger)
    assert (state.last_at, state.next_at) == (T0 + 10 * SECOND, T0 + 12 * SECOND)
    assert state.last_job_id == job.id


async def test_the_wait_ends_when_the_next_tick_is_due(ledger, clock):
    await put(ledger, schedule(every="2s"))
    clock.turn(1_300_000)

    ticker = Ticker(ledger, clock)

    assert await ticker.tick() == pytest.approx(0.7)
    clock.turn(600_000)
    assert await ticker.tick() == pytest.approx(0.1)
    assert await fired(ledger) == []
    clock.turn(100_000)
    await ticker.tick()
    assert await fired(ledger) == [2]


async def test_the_ledger_s_clock_says_what_is_due(ledger, clock):
    ahead = Hands(T0 + DAY)
    await put(ledger, schedule(every="2s"))
    ticker = Ticker(ledger, ahead)

    for _ in range(10):
        clock.turn(SECOND)
        ahead.turn(SECOND)
        await ticker.tick()

    assert await fired(ledger) == [2, 4, 6, 8, 10]


# Missed ticks


@pytest.mark.parametrize(
    ("missed", "noticed_at", "expected"),
    [
        ("skip", 3_100, []),
        ("skip", 3_010, [3_000]),  # ten seconds late is not missed
        ("once", 3_100, [3_000]),
        ("once", 3_010, [3_000]),
        ("all", 3_100, [600, 1_200, 1_800, 2_400, 3_000]),
    ],
)
async def test_a_schedule_says_what_becomes_of_missed_ticks(
    ledger, clock, missed, noticed_at, expected
):
    await put(ledger, schedule(every="10m", missed=missed))
    await Ticker(ledger, clock).tick()

    clock.turn(noticed_at * SECOND)
    await pass_time(ledger, clock, 2)

    assert await fired(ledger) == expected
    assert (await read(ledger)).next_at == T0 + 3_600 * SECOND


async def test_what_is_late_but_not_missed_is_made_up_for_under_every_policy(ledger, clock):
    await put(ledger, schedule(every="2s", missed="skip", missed_after="30s"))
    await Ticker(ledger, clock).tick()

    clock.turn(20 * SECOND)
    await Ticker(ledger, clock).tick()

    assert await fired(ledger) == list(range(2, 21, 2))


async def test_no_more_is_made_up_for_than_the_bound(ledger, clock):
    await put(ledger, schedule(every="1m", missed="all"))
    await Ticker(ledger, clock).tick()

    clock.turn(30 * DAY)
    await pass_time(ledger, clock, 15)

    ticks = await fired(ledger)
    assert len(ticks) == CATCH_UP_MAX
    assert ticks[-1] == 30 * 86_400
    skipped = (await read(ledger)).skipped_at
    assert (skipped - T0) // SECOND == ticks[0] - 60


async def test_a_paused_schedule_misses_nothing(ledger, clock):
    await put(ledger, replace(schedule(every="10m", missed="all"), paused=True))

    await pass_time(ledger, clock, 3_600, step=MINUTE)
    state = await read(ledger)
    (doc,) = await ledger.docs("schedule", "s")
    await ledger.put("schedule", "s", to_doc(replace(state, paused=False)), version=doc.version)
    await pass_time(ledger, clock, 700, step=MINUTE)

    assert await fired(ledger) == [4_200]


async def test_a_schedule_has_its_first_and_last_tick(ledger, clock):
    bounds = {"start_at": "2027-01-15T08:00:05Z", "end_at": "2027-01-15T08:00:09Z"}
    await put(ledger, schedule(every="2s", **bounds))

    await pass_time(ledger, clock, 20)

    assert await fired(ledger) == [5, 7, 9]
    assert (await read(ledger)).next_at is None


async def test_jitter_is_the_tick_s_own_and_spreads_the_jobs(ledger, clock):
    await put(ledger, schedule(every="1h", jitter="30m"))

    await pass_time(ledger, clock, 30 * 3_600, step=MINUTE)

    jobs = await ledger.find(Filter(), Page(limit=50, oldest_first=True))
    waits = [job.run_at - job.submitted_at for job in jobs]
    assert len(jobs) == 30
    assert all(0 <= wait <= 30 * MINUTE for wait in waits)
    assert len({wait // MINUTE for wait in waits}) > 10


# One schedule can't harm another


async def test_a_record_that_can_t_be_read_harms_no_other(ledger, clock, caplog):
    await ledger.put("schedule", "a", "{")
    await ledger.put("schedule", "b", '{"format": 1, "spec": {}, "job": {}, "next_at": "x"}')
    await ledger.put("schedule", "c", to_doc(schedule("c", cron="* * * * *", zone="Mars/X")))
    await ledger.put("schedule", "d", to_doc(replace(schedule("d", every="2s"), job={"task": 1})))
    await ledger.put("schedule", "e", '{"format": 99}')
    await put(ledger, schedule("z", every="2s"))

    await pass_time(ledger, clock, 10)

    keys = [job.key for job in await ledger.find(Filter(), Page()) if job.task == "t"]
    assert sum(key.startswith("schedule:z@") for key in keys) == 5
    assert "zone" in (await read(ledger, "c")).error["message"]
    assert len([r for r in caplog.records if "schedule a" in r.message]) == 1


async def test_a_full_queue_keeps_its_tick_waiting_and_says_so(ledger, clock):
    await put(ledger, schedule("a", every="10s", job={"queue": "full", "max_depth": 1}))
    await put(ledger, schedule("z", every="2s"))
    await ledger.insert([NewJob(id="x", task="t", queue="full")])

    await pass_time(ledger, clock, 12)

    state = await read(ledger, "a")
    assert "limit of 1 waiting jobs" in state.error["message"]
    assert state.next_at == T0 + 10 * SECOND
    jobs = await ledger.find(Filter(), Page())
    assert sum((job.key or "").startswith("schedule:z@") for job in jobs) == 6
    await ledger.put("queue", "full", '{"max_depth": 2}')  # said at run time
    await pass_time(ledger, clock, 1)
    state = await read(ledger, "a")
    assert (state.error, state.last_at) == (None, T0 + 10 * SECOND)


async def test_a_key_that_somebody_took_is_told_and_the_next_tick_goes_on(ledger, clock):
    await put(ledger, schedule(every="2s"))
    key = "schedule:s@2027-01-15T08:00:02.000000Z"
    await ledger.insert([NewJob(id="x", task="t", key=key, fingerprint="mine")])

    await pass_time(ledger, clock, 3)
    assert key in (await read(ledger)).error["message"]
    await pass_time(ledger, clock, 1)

    assert (await read(ledger)).error is None
    assert (await ledger.find(Filter(), Page(limit=1)))[0].key.endswith("08:00:04.000000Z")


async def test_what_a_later_release_wrote_stays_and_its_formats_are_left_alone(ledger, clock):
    text = to_doc(schedule(every="2s"))
    await ledger.put("schedule", "s", text.replace("{", '{"colour": "red", ', 1))
    later = text.replace('"format":1', '"format":2')
    await ledger.put("schedule", "later", later)

    await pass_time(ledger, clock, 2)

    assert json.loads((await ledger.docs("schedule", "s"))[0].doc)["colour"] == "red"
    assert (await ledger.docs("schedule", "later"))[0].doc == later
    assert await fired(ledger) == [2]


# Declared by code


async def hire(ledger, clock, holder, names, ttl_us=DAY):
    await ledger.put("worker", holder, json.dumps({"schedules": names}), ttl_us=ttl_us)


async def test_what_the_code_declares_ticks_while_a_living_worker_has_it(ledger, clock):
    await put(ledger, replace(schedule(every="2s"), source="code"))

    await pass_time(ledger, clock, 4)
    assert await fired(ledger) == []
    await hire(ledger, clock, "new", ["other"])
    await hire(ledger, clock, "old", ["s"])
    await pass_time(ledger, clock, 4)
    seen = await fired(ledger)
    await ledger.put("worker", "old", None)
    await pass_time(ledger, clock, 4)

    assert seen == [6, 8]
    assert await fired(ledger) == seen
