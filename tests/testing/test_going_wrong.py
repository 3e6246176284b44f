"""Faults that a user's test can bring about, on the engine's own seams."""

import asyncio
import threading

import pytest

from outlast.core.errors import InvalidInputError
from outlast.core.limits import LEASE_US, SECOND
from outlast.ledger.memory import MemoryLedger
from outlast.sdk.context import Job
from outlast.sdk.threads import JobThread
from outlast.testing import testing

LEASE_S = LEASE_US / SECOND


@pytest.mark.parametrize(
    ("point", "recorded", "loads", "rows"),
    [
        ("start", False, 1, 25),
        ("step:load", False, 2, 25),
        ("step:load", True, 1, 25),
        ("step", True, 1, 25),
        ("resume:rows", False, 1, 35),
        ("resume:rows:20", False, 1, 35),
        ("resume:rows:20", True, 1, 25),
        ("artifact:rows.txt", False, 1, 25),
        ("complete", False, 1, 25),
    ],
)
async def test_a_job_goes_on_elsewhere_after_a_crash(shop, t, point, recorded, loads, rows):
    handle = await shop.export.submit()

    with t.crash_at(point, shop.export, recorded=recorded):
        await t.drain()

    job = t.job(handle)
    assert (job.status, job.result, t.runs(shop.export)) == ("completed", 25, 2)
    assert job.events.count("heartbeat-lost") == 1
    assert shop.did.count("load") == loads
    assert len([row for row in shop.did if isinstance(row, int)]) == rows
    assert job.file("rows.txt") == b"rows"


async def test_a_crash_cleans_nothing_up(shop, t):
    await shop.export.submit()

    with t.crash_at("step:load"):
        await t.drain()

    assert shop.did[:3] == ["load", "load", 0]


async def test_a_crash_of_a_plain_function_leaves_no_thread_behind(shop):
    async with testing(shop.app) as t:
        handle = await shop.report.submit()
        with t.crash_at("remember:page"):
            await t.drain()
        assert (t.job(handle).result, shop.did) == ("report", ["load"])
        left = [thread for thread in threading.enumerate() if isinstance(thread, JobThread)]

    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


async def test_neighbours_on_the_dead_worker_run_again_too(shop, t):
    neighbour = await shop.patient.submit(days=1)
    await shop.export.options(delay="1h").submit()

    with t.crash_at("step:load", shop.export):
        await t.drain(within="1h")

    assert t.job(neighbour).attempts == 2
    assert t.job(neighbour).status == "completed"


async def test_a_job_that_kills_every_worker_becomes_a_dead_letter(shop, t):
    handle = await shop.export.submit()

    for _ in range(3):
        t.crash_at("step:load")
    await t.drain(within="1h")

    assert (t.job(handle).status, t.runs(handle)) == ("failed", 3)


async def test_a_crash_that_does_not_come_is_no_success(shop):
    async def mistaken():
        async with testing(shop.app) as t:
            await shop.export.submit()
            t.crash_at("step:laod")
            await t.drain()

    with pytest.raises(AssertionError, match=r"crash_at\('step:laod'\).*\n.*export step:load"):
        await mistaken()


@pytest.mark.parametrize("point", ["stepp:load", "step:", "complete:now", ""])
async def test_a_point_that_is_none_is_refused(t, point):
    with pytest.raises(InvalidInputError, match="expected one of artifact:NAME, complete"):
        t.crash_at(point)


@pytest.mark.parametrize("point", ["step:load", "complete"])
async def test_a_frozen_worker_that_wakes_up_too_late_is_refused(shop, t, point):
    handle = await shop.export.submit()

    with t.freeze_at(point):
        await t.drain()
    assert t.job(handle).status == "processing"
    await t.advance(LEASE_S - 1)
    assert t.runs(handle) == 1
    await t.advance(2)
    done = t.job(handle)
    t.thaw()
    await t.advance("1h")

    assert (done.status, t.runs(handle)) == ("completed", 2)
    assert t.job(handle).events == done.events


async def test_a_worker_that_wakes_up_in_time_goes_on(shop, t):
    handle = await shop.patient.submit(days=1)
    await t.advance("1h")

    t.freeze()
    await t.advance(LEASE_S - 1)
    t.thaw()
    await t.drain()

    assert (t.job(handle).result, t.runs(handle)) == ("rested", 1)


async def test_there_must_be_a_worker_to_freeze(t):
    with pytest.raises(InvalidInputError, match="no worker has started yet; drain or advance"):
        t.freeze()


async def test_a_delivery_that_comes_again_changes_nothing(shop, t):
    done, resting = await shop.export.submit(), await shop.patient.submit(days=1)
    await t.advance("1h")

    await t.deliver_again(done)
    await t.deliver_again(resting)

    assert (t.runs(done), t.runs(resting)) == (1, 1)
    with pytest.raises(InvalidInputError, match="was not delivered yet"):
        await t.deliver_again(await shop.export.submit())


@pytest.mark.parametrize("by", ["1h", "-1h", -3600.0])
async def test_a_wrong_clock_steals_no_job_and_ends_none(shop, t, by):
    handle = await shop.patient.options(deadline="2d").submit(days=1)
    await t.advance("1h")

    t.jump(by)
    await t.drain()

    assert (t.job(handle).result, t.runs(handle)) == ("rested", 1)


async def test_a_wrong_clock_is_seen_by_the_worker_that_has_it(shop, t):
    handle = await shop.flaky.submit()
    t.jump("-365d")

    await t.drain()

    told = t.job(handle).error["at"]
    assert int(told[:4]) < t.now.year


# The planted bugs: an engine without its guards does not get past these helpers.


async def test_a_ledger_that_does_not_fence_is_caught_by_a_second_delivery(shop, t, monkeypatch):
    handle = await shop.export.submit()
    await t.drain()
    monkeypatch.setattr(MemoryLedger, "_accepts", lambda *_: True)

    with pytest.raises(AssertionError, match="ended twice"):
        await t.deliver_again(handle)


async def test_a_ledger_that_does_not_fence_is_caught_by_a_late_worker(shop, t, monkeypatch):
    monkeypatch.setattr(MemoryLedger, "_accepts", lambda *_: True)

    with pytest.raises(AssertionError):
        await test_a_frozen_worker_that_wakes_up_too_late_is_refused(shop, t, "step:load")


async def test_a_worker_that_forgets_its_steps_is_caught_by_a_crash(shop, t, monkeypatch):
    async def nothing(self):
        return {}

    monkeypatch.setattr(Job, "_stored", nothing)

    with pytest.raises(AssertionError):
        await test_a_job_goes_on_elsewhere_after_a_crash(shop, t, "step:load", True, 1, 25)


async def test_jobs_do_not_see_what_the_test_has_in_its_context(shop, t):
    from contextvars import ContextVar

    variable = ContextVar("of_the_test", default="empty")
    variable.set("full")

    @shop.app.task
    async def look() -> str:
        await asyncio.to_thread(int)
        return variable.get()

    handle = await look.submit()
    await t.drain()

    assert t.job(handle).result == "empty"
