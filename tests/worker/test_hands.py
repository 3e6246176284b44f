"""A pool loses nothing, harms no neighbour, and gives back what it did not start."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from outlast.core.errors import JobCancelledError, JobFailedError, UnavailableError
from outlast.core.job import Want
from outlast.core.signals import JobCancelled
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.sdk.context import Job
from outlast.sdk.submission import Options, new_job
from outlast.sdk.sync_context import SyncJob
from tests.worker.rig import (
    AT_ONCE,
    DEADLINE_S,
    Gated,
    assert_told,
    has_event,
    new_app,
    new_pool,
    register,
    running,
    types,
    until,
)


@pytest.fixture
async def app(tmp_path):
    app = new_app(tmp_path)

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        yield app


def edit(app: Outlast, statement: str, *binds: object) -> None:
    with closing(sqlite3.connect(app.ledger.path)) as db, db:
        db.execute(statement, binds)


def blocker(app, **policy):
    """Register a task that runs until the event is set, and says when it runs."""
    started, go = asyncio.Semaphore(0), asyncio.Event()

    @app.task(name="block", **policy)
    async def block(n: int = 0) -> int:
        started.release()
        await go.wait()
        return n

    return block, started, go


async def test_every_job_of_a_thousand_runs_once(app):
    add = app.tasks["add"]
    handles = await asyncio.gather(*(submit(app, add, n) for n in range(1000)))
    async with running(app, concurrency=16):
        for n, handle in enumerate(handles):
            assert await handle.result(DEADLINE_S) == n + 1
    for handle in handles:
        assert await types(app, handle) == ["submitted", "started", "completed"]


async def submit(app, task, n):
    return await app.submit(new_job(task, {"a": n, "b": 1}))


async def test_a_drain_gives_unstarted_jobs_back_without_costing_an_attempt(app):
    block, started, go = blocker(app)
    handles = [await block.submit(n=n) for n in range(6)]
    pool = new_pool(app, concurrency=2, holder="w")
    pool._service.mean_us = 1.0  # believes that jobs are fast, and so claims ahead
    await register(app.ledger, "w")
    work = asyncio.create_task(pool.run())
    async with asyncio.timeout(DEADLINE_S):
        await started.acquire()
        await started.acquire()
        assert (await handles[5].status()).status is Status.PROCESSING
        pool.drain()
        await has_event(app, handles[5], "released")
        go.set()
        await work
    for handle in handles[:2]:
        assert (await handle.status()).status is Status.COMPLETED
    for handle in handles[2:]:
        row = await assert_told(app.ledger, handle.id)
        assert (row.status, row.attempt, row.lost) == (Status.PENDING, 0, 0)


async def test_a_drain_in_the_middle_of_a_claim_gives_its_jobs_back(app):
    block, _, _ = blocker(app)
    handle = await block.submit()
    gated = Gated(app.ledger, "claim")
    pool = new_pool(app, ledger=gated, holder="w")
    await register(app.ledger, "w")
    work = asyncio.create_task(pool.run())
    async with asyncio.timeout(DEADLINE_S):
        await gated.done.wait()
        pool.drain()
        asyncio.get_running_loop().call_later(0.05, gated.answer.set)
        await work

    row = await assert_told(app.ledger, handle.id)
    assert (row.status, row.attempt) == (Status.PENDING, 0)


async def test_a_drain_gives_running_jobs_back_after_the_grace(app):
    block, started, _ = blocker(app)
    handle = await block.submit()
    async with running(app, grace_s=0.01):
        await started.acquire()

    row = await assert_told(app.ledger, handle.id)
    assert (row.status, row.attempt) == (Status.PENDING, 0)


async def test_a_drain_in_the_middle_of_a_commit_loses_no_ending(app):
    add = app.tasks["add"]
    handles = [await submit(app, add, n) for n in range(20)]
    gated = Gated(app.ledger, "commit")
    pool = new_pool(app, ledger=gated, concurrency=2, holder="w")
    pool._service.mean_us = 1.0
    await register(app.ledger, "w")
    work = asyncio.create_task(pool.run())
    async with asyncio.timeout(DEADLINE_S):
        await gated.done.wait()
        pool.drain()
        asyncio.get_running_loop().call_later(0.05, gated.answer.set)
        await work

    for handle in handles:
        row = await assert_told(app.ledger, handle.id)
        assert row.status in {Status.COMPLETED, Status.PENDING}
        assert row.attempt == (row.status is Status.COMPLETED)


async def test_slow_jobs_are_not_claimed_ahead(app):
    block, started, go = blocker(app)
    handles = [await block.submit(n=n) for n in range(8)]
    async with running(app, concurrency=4) as pool:
        for _ in range(4):
            await started.acquire()
        statuses = [(await handle.status()).status for handle in handles]
        assert statuses == [Status.PROCESSING] * 4 + [Status.PENDING] * 4
        assert len(pool._running) == 4
        go.set()
        assert [await handle.result(DEADLINE_S) for handle in handles] == list(range(8))


async def test_an_idle_slot_takes_a_job_however_many_others_are_busy(app):
    block, started, go = blocker(app)
    async with running(app, concurrency=4):
        for n in range(4):
            await block.submit(n=n)
            async with asyncio.timeout(DEADLINE_S):
                await started.acquire()
        go.set()


@pytest.mark.parametrize(
    "poison", [b"\xff\xfe", b"{", b"[]", b'{"a": "x"}', b"", b'{"a": 1, "b": "\xed\xa0\x80"}']
)
@pytest.mark.fault("F53")
async def test_a_poison_row_blocks_no_neighbour(app, poison):
    @app.task(name="fragile", retries=1, backoff=AT_ONCE)
    async def fragile(a: int, b: str = "") -> int:
        return a

    bad = await fragile.submit(a=1)
    edit(app, "UPDATE job SET args = CAST(? AS TEXT) WHERE id = ?", poison, bad.id)
    good = [await fragile.submit(a=n) for n in range(5)]
    async with running(app):
        assert [await handle.result(DEADLINE_S) for handle in good] == list(range(5))
        await has_event(app, bad, "failed")
    await assert_told(app.ledger, bad.id)


@pytest.mark.fault("F53")
async def test_a_poison_row_of_a_dead_worker_blocks_no_neighbour(app):
    bad, good = [await submit(app, app.tasks["add"], n) for n in range(2)]
    await register(app.ledger, "dead")
    await app.ledger.claim(Want("dead", ("default",), 2))
    edit(app, "UPDATE job SET args = CAST(? AS TEXT) WHERE id = ?", b"\xff", bad.id)
    await app.ledger.extend(["dead"], 0)
    async with running(app):
        assert await good.result(DEADLINE_S) == 2
        await has_event(app, bad, "heartbeat-lost")


async def test_a_poison_row_that_is_due_keeps_no_neighbour_from_its_time(app):
    async with running(app):
        late = [
            await app.submit(new_job(app.tasks["add"], {"a": n, "b": 1}, Options(delay=0.2)))
            for n in range(3)
        ]
        edit(app, "UPDATE job SET args = CAST(? AS TEXT) WHERE id = ?", b"\xff", late[0].id)
        assert await late[2].result(DEADLINE_S) == 3


async def test_a_task_that_cancels_itself_spends_its_attempts_like_any_failure(app):
    @app.task(name="odd", retries=1, backoff=AT_ONCE)
    async def odd() -> None:
        raise asyncio.CancelledError

    handle = await odd.submit()
    async with running(app):
        with pytest.raises(JobFailedError):
            await handle.result(DEADLINE_S)
    assert (await handle.status()).attempt == 2


async def test_a_task_may_end_itself_as_cancelled(app):
    @app.task(name="over")
    async def over() -> None:
        raise JobCancelled

    handle = await over.submit()
    async with running(app):
        with pytest.raises(JobCancelledError):
            await handle.result(DEADLINE_S)


async def test_an_abandoned_thread_of_a_timed_out_attempt_does_not_disturb_the_next(app):
    first_may_go, second_runs, wrote = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    told = []

    @app.task(name="slow", retries=3, timeout=0.3, grace=0, backoff=AT_ONCE)
    def slow(job: SyncJob) -> str:
        if job.attempt == 1:
            asyncio.run_coroutine_threadsafe(first_may_go.wait(), loop).result()
            job.log("from the dead")
            try:
                job.check()
            except JobCancelled:
                told.append("stopped")
            loop.call_soon_threadsafe(wrote.set)
            return "first"
        loop.call_soon_threadsafe(second_runs.set)
        asyncio.run_coroutine_threadsafe(wrote.wait(), loop).result()
        job.log("from the living")
        return f"attempt {job.attempt}"

    handle = await slow.submit()
    async with running(app), asyncio.timeout(DEADLINE_S):
        await has_event(app, handle, "retrying")
        # The process with that thread takes no more jobs: another one goes on.
        async with running(app):
            await second_runs.wait()
            first_may_go.set()
            await handle.result(DEADLINE_S)
        assert await handle.result(DEADLINE_S) == "attempt 2"
    logs = [json.loads(e.data) for e in await app.ledger.history(handle.id, type="log")]
    assert [line["message"] for line in logs] == ["from the living"]
    assert told == ["stopped"]


async def test_an_ending_survives_a_ledger_that_is_away_for_a_while(app):
    class Flaky:
        def __init__(self):
            self.refusals = 2

        def __getattr__(self, name):
            return getattr(app.ledger, name)

        async def commit(self, changes, **kwargs):
            if self.refusals:
                self.refusals -= 1
                if not self.refusals:  # done, but the answer is lost
                    await app.ledger.commit(changes, **kwargs)
                raise UnavailableError("away")
            return await app.ledger.commit(changes, **kwargs)

    handle = await submit(app, app.tasks["add"], 1)
    async with running(app, ledger=Flaky()):
        assert await handle.result(DEADLINE_S) == 2
    assert await types(app, handle) == ["submitted", "started", "completed"]


async def test_what_a_worker_that_lost_its_lease_tries_is_refused_and_it_stops(app):
    tried = asyncio.Event()

    @app.task(name="stepper")
    async def stepper(job: Job) -> str:
        if job.attempt == 1:
            await app.ledger.extend(["first"], 0)
            await has_event(app, app.handle(job.id), "heartbeat-lost")
            job.log("too late")
            try:
                await job.step("one", lambda: "first")
            finally:
                tried.set()
            return "first"
        return await job.step("one", lambda: "second")

    handle = await stepper.submit()
    async with running(app, holder="first"):
        async with asyncio.timeout(DEADLINE_S):
            await tried.wait()
        async with running(app, holder="second"):
            assert await handle.result(DEADLINE_S) == "second"
    assert await types(app, handle) == [
        *["submitted", "started", "heartbeat-lost"],
        *["started", "step", "recovered", "completed"],
    ]
    await assert_told(app.ledger, handle.id)


async def test_a_ring_is_heard_by_each_waiter_even_when_another_heard_it_first(app):
    bell = app.ledger.bell

    async def deaf_for_a_while(rung):
        await bell.wait(0)  # what rang before
        await rung.wait()
        async with asyncio.timeout(DEADLINE_S):
            started = asyncio.get_running_loop().time()
            await bell.wait(DEADLINE_S)
            return asyncio.get_running_loop().time() - started

    rung = asyncio.Event()
    busy = asyncio.create_task(deaf_for_a_while(rung))
    await bell.wait(0)
    await bell.wait(0)
    await submit(app, app.tasks["add"], 1)
    await bell.wait(DEADLINE_S)  # another hears it
    rung.set()
    assert await busy < DEADLINE_S / 2


async def test_a_pool_leaves_no_task_behind(app):
    before = asyncio.all_tasks()
    handle = await submit(app, app.tasks["add"], 1)
    async with running(app):
        await handle.result(DEADLINE_S)

    async def quiet():
        return asyncio.all_tasks() <= before

    await until(app.ledger, quiet)
