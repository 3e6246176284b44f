"""What a task sees and says while it runs, and what becomes of it."""

import asyncio
import gc
import threading

import pytest

from outlast.core.errors import (
    ConflictError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    UnavailableError,
    WaitTimeoutError,
)
from outlast.core.retry import GIVE_UP
from outlast.core.signals import GiveUp, JobCancelled, Retry
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.sdk.context import Job
from outlast.sdk.sync import SyncOutlast
from outlast.sdk.sync_context import SyncJob
from tests.worker.rig import (
    AT_ONCE,
    DEADLINE_S,
    assert_told,
    data_of,
    has_event,
    new_app,
    running,
    types,
)

LIMIT = 200_000  # of a payload


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


async def ends(app, handle, error=JobFailedError):
    with pytest.raises(error) as caught:
        await handle.result(DEADLINE_S)
    await assert_told(app.ledger, handle.id)
    return caught.value


async def test_steps_run_once_in_the_life_of_a_job(app):
    ran = []

    async def fetch(n: int) -> dict[str, int]:
        ran.append(n)
        return {"n": n}

    def compute(n: int) -> int:
        ran.append(-n)
        return n * n

    @app.task(backoff=AT_ONCE)
    async def stepped(job: Job) -> list:
        first = await job.step("fetch", fetch, 3)
        second = await job.step("compute", compute, 3)
        if job.attempt < 3:
            raise ValueError("after the steps")
        return [first, second, job.attempt]

    handle = await stepped.submit()
    async with running(app):
        assert await handle.result(DEADLINE_S) == [{"n": 3}, 9, 3]
    assert ran == [3, -3]
    assert [step["name"] for step in await data_of(app, handle, "step")] == ["fetch", "compute"]


async def test_a_step_name_is_used_once_in_an_attempt(app):
    @app.task
    async def twice(job: Job) -> None:
        await job.step("a", lambda: 1)
        await job.step("a", lambda: 2)

    handle = await twice.submit()
    async with running(app):
        error = await ends(app, handle)
    assert error.facts["error"]["type"] == "InvalidInputError"
    assert (await handle.status()).attempt == 1


async def test_a_stored_step_that_no_longer_fits_is_drift_and_not_tried_again(app):
    @app.task(backoff=AT_ONCE)
    async def drifting(job: Job) -> None:
        def old() -> str:
            return "text"

        def new() -> int:
            return 5

        await job.step("a", old if job.attempt == 1 else new)
        raise ValueError("once")

    handle = await drifting.submit()
    async with running(app):
        error = await ends(app, handle)
    assert error.facts["error"]["type"] == "DriftError"
    assert (await handle.status()).attempt == 2


async def test_retry_after_sets_the_delay(app):
    @app.task(retries=5)
    async def polite(job: Job) -> int:
        if job.attempt == 1:
            raise Retry(after=0.05)
        return job.attempt

    handle = await polite.submit()
    async with running(app):
        assert await handle.result(DEADLINE_S) == 2
    (retrying,) = await data_of(app, handle, "retrying")
    assert retrying["delay_us"] == 50_000


@pytest.mark.parametrize("how", [GiveUp("no hope"), KeyError("hopeless")])
async def test_giving_up_spends_no_further_attempt(app, how):
    @app.task(retries=5, on_error={KeyError: GIVE_UP})
    async def hopeless() -> None:
        raise how

    handle = await hopeless.submit()
    async with running(app):
        await ends(app, handle)
    assert (await handle.status()).attempt == 1


async def test_a_failing_job_is_tried_as_often_as_it_may_and_then_kept_as_failed(app):
    @app.task(retries=3, backoff=AT_ONCE)
    async def failing() -> None:
        raise ValueError("row 5")

    handle = await failing.submit()
    async with running(app):
        error = await ends(app, handle)
    assert (await handle.status()).attempt == 4
    assert error.facts["error"]["message"] == "row 5"
    assert (await types(app, handle)).count("started") == 4


async def test_a_failed_job_can_be_run_again_by_hand(app):
    broken = [True]

    @app.task(retries=0)
    async def mended() -> str:
        if broken[0]:
            raise ValueError
        return "done"

    handle = await mended.submit()
    async with running(app):
        await ends(app, handle)
        broken[0] = False
        await handle.retry()
        assert await handle.result(DEADLINE_S) == "done"
        with pytest.raises(ConflictError):
            await handle.retry()
    row = await assert_told(app.ledger, handle.id)
    assert (row.run, row.attempt) == (2, 1)


@pytest.mark.parametrize("leaves", [SystemExit, SystemExit(3), StopAsyncIteration, RuntimeError])
async def test_whatever_a_task_raises_is_its_own_failure(app, leaves):
    @app.task(name="bad", retries=0)
    async def bad() -> None:
        raise leaves

    @app.task
    async def good() -> int:
        return 1

    handles = [await bad.submit(), await good.submit()]
    async with running(app):
        await ends(app, handles[0])
        assert await handles[1].result(DEADLINE_S) == 1


async def test_an_attempt_over_its_time_is_a_failure_that_says_so(app):
    @app.task(retries=1, timeout=0.05, backoff=AT_ONCE)
    async def endless() -> None:
        await asyncio.Event().wait()

    handle = await endless.submit()
    async with running(app):
        error = await ends(app, handle)
    assert error.facts["error"]["message"] == "the attempt took longer than 0.05 s"
    assert (await handle.status()).attempt == 2


async def test_a_pending_job_is_cancelled_at_once_and_never_runs(app):
    @app.task
    async def never() -> None:
        raise AssertionError

    handle = await never.submit()
    assert await handle.cancel() == "cancelled"
    async with running(app):
        await ends(app, handle, JobCancelledError)
    assert await types(app, handle) == ["submitted", "cancelled"]
    assert await handle.cancel() == "cancelled"


async def test_a_running_job_is_cancelled_on_request(app):
    cleaned = []

    @app.task
    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    handle = await long.submit()
    async with running(app):
        await has_event(app, handle, "started")
        assert await handle.cancel() == "cancelling"
        assert await handle.cancel() == "cancelling"
        await ends(app, handle, JobCancelledError)
    assert cleaned == [True]
    assert (await types(app, handle)).count("cancelling") == 1


async def test_a_failing_job_that_was_asked_to_stop_does_not_run_again(app):
    go = asyncio.Event()

    @app.task(backoff=AT_ONCE)
    async def stubborn() -> None:
        try:
            await go.wait()
        except asyncio.CancelledError:
            raise ValueError from None

    handle = await stubborn.submit()
    async with running(app):
        await has_event(app, handle, "started")
        await handle.cancel()
        await ends(app, handle, JobCancelledError)
    assert (await handle.status()).attempt == 1


async def test_a_thread_task_stops_at_its_next_check(app):
    stopped = threading.Event()

    @app.task
    def grind(job: SyncJob) -> None:
        try:
            while True:
                job.check()
        except JobCancelled:
            stopped.set()
            raise

    handle = await grind.submit()
    async with running(app):
        await has_event(app, handle, "started")
        await handle.cancel()
        await ends(app, handle, JobCancelledError)
        assert await asyncio.to_thread(stopped.wait, DEADLINE_S)


async def test_a_plain_function_has_the_whole_context_in_its_thread(app):
    @app.task
    def plain(job: SyncJob, name: str) -> list:
        doubled = job.step("double", lambda: name * 2)
        saved = job.save("out.txt", doubled.encode())
        job.log("saved", size=saved.size)
        for _ in job.track([1, 2, 3], "counting"):
            pass
        return [job.load("out.txt").decode(), job.attempt, job.token, job.id, job.idempotency_key]

    handle = await plain.options(key="k").submit(name="ab")
    async with running(app):
        assert await handle.result(DEADLINE_S) == ["abab", 1, 1, handle.id, "k"]
    assert [line["fields"] for line in await data_of(app, handle, "log")] == [{"size": 4}]
    assert (await data_of(app, handle, "progress"))[-1]["percent"] == 100.0


async def test_more_thread_tasks_with_steps_than_slots_all_end(app):
    @app.task
    def nested(job: SyncJob, n: int) -> int:
        return job.step("a", lambda: n)

    handles = [await nested.submit(n=n) for n in range(40)]
    async with running(app, concurrency=8):
        assert [await handle.result(DEADLINE_S) for handle in handles] == list(range(40))


async def test_progress_is_written_seldom_and_its_end_always(app):
    @app.task
    async def chatty(job: Job) -> None:
        for n in range(10_001):
            job.progress(n, 10_000)

    handle = await chatty.submit()
    async with running(app):
        await handle.result(DEADLINE_S)
    told = await data_of(app, handle, "progress")
    assert len(told) < 100
    assert told[-1]["percent"] == 100.0
    assert (await handle.status()).progress == told[-1]


@pytest.mark.parametrize("value", ["x" * LIMIT, "ü" * (LIMIT // 2)])
async def test_a_result_over_the_limit_fails_the_job_at_once(app, value):
    app.blobs.payload_max = LIMIT

    @app.task
    async def huge() -> str:
        return value

    handle = await huge.submit()
    async with running(app):
        error = await ends(app, handle)
    assert error.facts["error"]["type"] == "TooLargeError"
    assert (await handle.status()).attempt == 1


async def test_a_step_over_the_limit_in_bytes_is_refused(app):
    app.blobs.payload_max = LIMIT

    @app.task
    async def huge(job: Job) -> None:
        await job.step("a", lambda: "ü" * (LIMIT // 2 + 1))

    handle = await huge.submit()
    async with running(app):
        assert (await ends(app, handle)).facts["error"]["type"] == "TooLargeError"


async def test_waiting_for_a_result_ends_in_time_and_the_job_goes_on(app):
    @app.task
    async def idle() -> None: ...

    handle = await idle.submit()
    with pytest.raises(WaitTimeoutError, match="pending"):
        await handle.result(0.01)
    assert (await handle.status()).status is Status.PENDING


async def test_a_job_that_was_never_there_is_not_found(app):
    with pytest.raises(NotFoundError):
        await app.handle("018bcfe5-6800-7000-8000-000000000000").status()


async def test_events_are_followed_to_the_end_each_once(app):
    @app.task
    async def talk(job: Job) -> None:
        for n in range(5):
            job.log(str(n))

    handle = await talk.submit()
    async with running(app), asyncio.timeout(DEADLINE_S):
        seen = [event async for event in handle.events()]
        late = [event async for event in handle.events(after=3)]
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert late == seen[3:]
    assert seen[-1].type == "completed"


def test_plain_code_submits_and_waits_without_an_event_loop(tmp_path):
    app = new_app(tmp_path)

    @app.task
    async def never() -> None: ...

    with SyncOutlast(app) as jobs:
        handle = jobs.submit(never)
        assert jobs.handle(handle.id).status().status is Status.PENDING
        with pytest.raises(WaitTimeoutError):
            handle.result(0.01)
        assert handle.cancel() == "cancelled"
        with pytest.raises(JobCancelledError):
            handle.result()


def test_a_facade_that_can_not_open_leaves_no_thread_and_no_socket(tmp_path):
    before = threading.active_count()
    with pytest.raises(UnavailableError), SyncOutlast(new_app(tmp_path / "missing")):
        pass
    SyncOutlast(Outlast())
    gc.collect()  # what was left open would warn here

    assert threading.active_count() == before


async def test_a_ledger_that_can_not_open_leaves_nothing_open(tmp_path):
    (tmp_path / "outlast.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Exception, match="damaged or no SQLite file"):
        await new_app(tmp_path).open()
    gc.collect()
