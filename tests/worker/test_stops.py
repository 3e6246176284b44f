"""Limits hold, and a wish to stop is followed: softly, then by force."""

import asyncio
import threading

import pytest

from outlast.core.errors import JobCancelledError, JobFailedError
from outlast.core.job import Filter, Want
from outlast.core.status import Status
from outlast.sdk.context import Job
from outlast.sdk.sync_context import SyncJob
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.loop import Upkeep
from outlast.worker.effects import Stop
from tests.worker.rig import (
    AT_ONCE,
    DEADLINE_S,
    Deaf,
    assert_told,
    data_of,
    has_event,
    new_app,
    new_pool,
    register,
    running,
    types,
)


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


async def passing(seconds):
    """Work that takes its time."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


async def fails(app, handle, kind):
    with pytest.raises(JobFailedError) as caught:
        await handle.result(DEADLINE_S)
    await assert_told(app.ledger, handle.id)
    error = caught.value.facts["error"]
    assert error["type"] == kind
    return error


async def test_slow_is_fine_and_stuck_is_not(app):
    @app.task(retries=0, stall_after=0.3)
    async def work(job: Job, stuck: bool) -> str:
        for n in range(8):
            await passing(0.08)
            job.progress(n, message=str(n))
        await asyncio.Event().wait() if stuck else None
        return "done"

    slow, stuck = await work.submit(stuck=False), await work.submit(stuck=True)
    async with running(app):
        assert await slow.result(DEADLINE_S) == "done"
        error = await fails(app, stuck, "StalledError")
    assert "no sign of progress for 0.3 s" in error["message"]


async def test_a_deadline_bounds_all_attempts_together(app):
    @app.task(retries=100, backoff=AT_ONCE, deadline=0.3)
    async def hopeless() -> None:
        await passing(0.02)
        raise ValueError

    handle = await hopeless.submit()
    async with running(app):
        with pytest.raises(JobFailedError):
            await handle.result(DEADLINE_S)
    row = await assert_told(app.ledger, handle.id)
    assert 1 < row.attempt < 100


async def test_a_running_attempt_ends_at_the_deadline_and_is_not_tried_again(app):
    @app.task(retries=5, deadline=0.1)
    async def endless() -> None:
        await asyncio.Event().wait()

    handle = await endless.submit()
    async with running(app):
        await fails(app, handle, "DeadlineError")
    assert (await handle.status()).attempt == 1


async def test_a_job_that_waits_past_its_deadline_fails_without_a_worker(app):
    @app.task(deadline="1s")
    async def never() -> None:
        raise AssertionError

    handle = await never.submit()
    upkeep = Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY)

    await upkeep.expire(CLOCK.now_us())
    assert (await handle.status()).status is Status.PENDING
    await upkeep.expire(CLOCK.now_us() + 1_000_001)

    row = await assert_told(app.ledger, handle.id)
    assert row.status is Status.FAILED


async def test_a_redriven_job_has_its_whole_deadline_again(app):
    @app.task(deadline="1s")
    async def never() -> None:
        raise AssertionError

    handle = await never.submit()
    first = (await handle.record()).deadline_at
    await Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY).expire(first)
    await handle.retry()

    assert (await handle.record()).deadline_at > first


async def test_nothing_ends_a_long_job_by_surprise(app):
    @app.task
    async def long() -> None:
        pass

    handle = await long.submit()
    row = await handle.record()
    assert (row.timeout_us, row.deadline_at, row.expires_at) == (None, None, None)
    assert long.task.policy.stall_us is None


async def test_a_task_that_ignores_its_stop_is_given_up_and_its_process_replaced(app):
    release = asyncio.Event()

    @app.task(retries=0, timeout=0.05, grace=0.1)
    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    @app.task
    async def neighbour(job: Job) -> str:
        job.progress(0, message="runs")
        await release.wait()
        return "unharmed"

    beside = await neighbour.submit()
    handle = await stubborn.submit()
    async with running(app) as pool:
        error = await fails(app, handle, "TimeoutError")
        assert "given up" in error["message"]
        assert pool.is_worn
        later = await neighbour.submit()
        release.set()
        assert await beside.result(DEADLINE_S) == "unharmed"
    assert (await later.status()).status is Status.PENDING


async def test_a_process_with_two_jobs_that_will_not_stop_is_replaced_all_the_same(app):
    release = asyncio.Event()

    @app.task(retries=0, grace=0.05)
    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    first = await stubborn.options(timeout=0.05).submit()
    second = await stubborn.options(timeout=0.4).submit()
    pool = new_pool(app, holder="w")
    await register(app.ledger, "w")
    async with asyncio.timeout(DEADLINE_S):
        await pool.run()  # nobody asks it to: it is worn, and its second job is given up as well

    assert pool.is_worn
    await fails(app, first, "TimeoutError")
    await fails(app, second, "TimeoutError")
    release.set()


async def test_a_thread_that_will_not_stop_is_given_up_and_one_that_stops_is_not(app):
    release = threading.Event()

    @app.task(retries=0, timeout=0.05, grace=0.2)
    def work(job: SyncJob, deaf: bool) -> str:
        while not release.is_set():
            release.wait(0.01)
            if not deaf:
                job.check()
        return "done"

    polite, deaf = await work.submit(deaf=False), await work.submit(deaf=True)
    async with running(app) as pool:
        first = await fails(app, polite, "TimeoutError")
        assert "given up" not in first["message"]
        second = await fails(app, deaf, "TimeoutError")
        assert "given up" in second["message"]
        assert pool.is_worn
        release.set()


async def test_a_shield_keeps_a_critical_section_whole(app):
    inside, go = asyncio.Event(), asyncio.Event()
    done = []

    @app.task
    async def critical(job: Job) -> None:
        async with job.shield():
            inside.set()
            await go.wait()
            done.append("section")
        await asyncio.Event().wait()
        done.append("rest")

    handle = await critical.submit()
    async with running(app):
        await inside.wait()
        assert await handle.cancel() == "cancelling"
        await has_event(app, handle, "cancelling")
        go.set()
        assert await handle.cancel(timeout=DEADLINE_S) == "cancelled"
    assert done == ["section"]
    assert (await data_of(app, handle, "cancelled"))[0]["outcome"] == "cancelled"


async def test_a_shield_in_a_thread_holds_off_its_checks(app):
    inside, go = threading.Event(), threading.Event()
    done = []

    @app.task
    def critical(job: SyncJob) -> None:
        with job.shield():
            inside.set()
            go.wait(DEADLINE_S)
            job.check()
            done.append("section")
        job.check()
        done.append("rest")

    handle = await critical.submit()
    async with running(app) as pool:
        await asyncio.to_thread(inside.wait, DEADLINE_S)
        await handle.cancel()
        held = pool._running[handle.id]
        while not held.effects.stopping():
            await app.ledger.bell.wait(0.05)
        go.set()
        assert await handle.cancel(timeout=DEADLINE_S) == "cancelled"
    assert done == ["section"]


async def test_what_ignores_a_cancel_is_said_to_be_killed(app):
    release = asyncio.Event()

    @app.task(grace=0.1)
    async def stubborn(job: Job) -> None:
        job.progress(0)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    handle = await stubborn.submit()
    async with running(app):
        await has_event(app, handle, "started")
        assert await handle.cancel(timeout=DEADLINE_S) == "killed"
        release.set()
    assert (await types(app, handle))[-1] == "cancelled"


async def test_a_cancel_that_comes_too_late_says_so(app):
    @app.task
    async def quick() -> int:
        return 1

    handle = await quick.submit()
    async with running(app):
        await handle.result(DEADLINE_S)

    assert await handle.cancel() == "too-late"


async def test_a_job_that_ends_well_in_spite_of_a_cancel_was_asked_too_late(app):
    started = asyncio.Event()

    @app.task
    async def finishes(job: Job) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    handle = await finishes.submit()
    async with running(app):
        await started.wait()
        assert await handle.cancel(timeout=DEADLINE_S) == "too-late"
        assert await handle.result() == "done all the same"


async def test_a_cancel_needs_no_worker(app):
    started = asyncio.Event()

    @app.task
    async def patient() -> None:
        started.set()
        await asyncio.Event().wait()

    waiting, held = await patient.submit(), await patient.options(delay="1h").submit()
    assert await waiting.cancel() == await held.cancel() == "cancelled"
    async with running(app):
        with pytest.raises(JobCancelledError):
            await waiting.result(DEADLINE_S)
    assert (await app.ledger.count(Filter(status=Status.CANCELLED), "")).get(()) == 2
    assert not started.is_set()


async def test_a_stop_that_comes_before_the_first_step_settles_the_job(app):
    @app.task
    async def work(job: Job) -> None:
        await asyncio.Event().wait()

    handle = await work.submit()
    pool = new_pool(app, holder="w")
    await register(app.ledger, "w")
    pool._buffer.extend(await app.ledger.claim(Want("w", ("default",), 1)))

    pool._start_some()
    pool._running[handle.id].stop(Stop("cancel", "asked at once"))
    pool.drain()
    async with asyncio.timeout(DEADLINE_S):
        await pool.run()

    assert (await assert_told(app.ledger, handle.id)).status is Status.CANCELLED


async def test_what_a_claim_took_is_given_back_when_its_answer_was_lost(app):
    @app.task
    async def work(n: int) -> int:
        return n

    handle = await work.submit(n=7)
    async with running(app, ledger=Deaf(app.ledger, "claim")):
        assert await handle.result(DEADLINE_S) == 7

    assert await types(app, handle) == ["submitted", "started", "released", "started", "completed"]
    assert (await assert_told(app.ledger, handle.id)).attempt == 1


async def test_a_drain_gives_back_what_a_claim_took_whose_answer_was_lost(app):
    @app.task
    async def work(n: int) -> int:
        return n

    ledger = Deaf(app.ledger, "claim")
    pool = new_pool(app, ledger=ledger, holder="w")
    await register(app.ledger, "w")
    handle = await work.submit(n=7)
    run = asyncio.create_task(pool.run())
    await has_event(app, handle, "started")
    pool.drain()
    async with asyncio.timeout(DEADLINE_S):
        await run

    row = await assert_told(app.ledger, handle.id)
    assert (ledger.told, row.status, row.attempt) == (True, Status.PENDING, 0)
