"""What a worker does with a job."""

import asyncio

import jobs
import pytest

from outlast.core.errors import InvalidInputError, JobCancelledError, JobFailedError
from outlast.core.job import Filter, Page
from outlast.core.status import Status
from tests.worker.rig import until


async def test_a_job_is_run_and_its_result_kept(app, working):
    handle = await jobs.add.submit(2, 3)
    async with working():
        assert await handle.result(timeout=10) == 5


async def test_wrong_arguments_fail_at_submit_with_path_and_type(app):
    with pytest.raises(InvalidInputError) as caught:
        await jobs.add.submit(a="two", c=1)

    assert {e["path"] for e in caught.value.facts["errors"]} == {"args.a", "args.b", "args.c"}
    assert "valid integer" in str(caught.value)
    assert (await app.ledger.count(Filter(), "")).get((), 0) == 0


async def test_everything_wrong_with_the_options_is_told_at_once(app):
    with pytest.raises(InvalidInputError) as caught:
        await jobs.add.options(priority=999, delay="soon", tags=["\n"]).submit(1, 2)

    assert {e["path"] for e in caught.value.facts["errors"]} == {"priority", "delay", "tags.0"}


async def test_a_hopeless_job_is_dead_lettered_at_once(app, working):
    handle = await jobs.hopeless.submit()
    async with working():
        with pytest.raises(JobFailedError, match="GiveUp"):
            await handle.result(timeout=10)
    assert (await handle.record()).attempt == 1


async def test_a_retry_that_was_asked_for_comes(app, working):
    handle = await jobs.later.submit()
    async with working():
        assert await handle.result(timeout=10) == 2


@pytest.mark.parametrize("task", ["grouped", "grouped_apart"])
async def test_what_is_said_in_a_task_group_is_heard(app, working, task):
    given_up, asked, stopped = [
        await getattr(jobs, task).submit(word) for word in ("give up", "retry", "cancel")
    ]

    async with working():
        with pytest.raises(JobFailedError, match=r"1 sub-exception.*GiveUp: no later"):
            await given_up.result(timeout=20)
        assert await asked.result(timeout=20) == 2
        with pytest.raises(JobCancelledError):
            await stopped.result(timeout=20)
    assert (await given_up.record()).attempt == 1


@pytest.mark.parametrize("what", ["object", "NaN"])
async def test_a_result_that_json_has_not_fails_the_job_at_once(app, working, what):
    handle = await jobs.unwritable.submit(what)
    fine = await jobs.unwritable.submit("null")

    async with working():
        with pytest.raises(JobFailedError, match="unwritable: its result can't be written as JSON"):
            await handle.result(timeout=10)
        assert await fine.result(timeout=10) == [None, 1.5]
    assert (await handle.record()).attempt == 1


async def test_a_step_that_json_has_not_fails_the_job_at_once(app, working):
    handle = await jobs.unwritable_step.submit()

    async with working():
        with pytest.raises(JobFailedError, match="step 'measure': its result can't be written"):
            await handle.result(timeout=10)
    assert (await handle.record()).attempt == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_arguments_that_json_has_not_are_refused(app, value):
    with pytest.raises(InvalidInputError, match="args can't be written as JSON: JSON has no"):
        await jobs.take.submit(value)


async def test_a_time_limit_ends_an_attempt(app, working):
    handle = await jobs.endless.submit()
    async with working():
        with pytest.raises(JobFailedError, match=r"longer than 0\.05 s"):
            await handle.result(timeout=10)


async def test_a_running_job_is_cancelled(app, working):
    handle = await jobs.patient.submit()
    async with working():
        async for event in handle.events():
            if event.type == "started":
                assert await handle.cancel() == "cancelling"
                break
        with pytest.raises(JobCancelledError):
            await handle.result(timeout=10)


async def test_files_and_logs_stay_with_the_job(app, working):
    handle = await jobs.filed.submit()
    async with working():
        assert await handle.result(timeout=10) == "bytes"
    types = [e.type for e in await app.ledger.history(handle.id)]
    assert types == ["submitted", "started", "artifact", "log", "completed"]


async def test_a_drain_gives_jobs_back_without_costing_an_attempt(app, working):
    handles = [await jobs.patient.submit() for _ in range(3)]
    async with working(concurrency=2, grace_s=0.0):
        async for event in handles[1].events():
            if event.type == "started":
                break
    rows = await app.ledger.get([handle.id for handle in handles])
    assert [(row.status, row.attempt) for row in rows] == [(Status.PENDING, 0)] * 3


async def test_slow_jobs_are_not_claimed_ahead(app, working):
    handles = [await jobs.patient.submit() for _ in range(6)]
    async with working(concurrency=2, grace_s=0.0):
        async for event in handles[1].events():
            if event.type == "started":
                break
        held = await app.ledger.count(Filter(status=Status.PROCESSING), "")
    assert held[()] == 2


async def test_a_poison_row_blocks_no_neighbour(app, working, tmp_path):
    import apsw

    poison, good = await jobs.add.options(max_attempts=1).submit(1, 1), await jobs.add.submit(1, 2)
    db = apsw.Connection(f"{tmp_path}/ledger.db")
    db.set_busy_timeout(5_000)
    db.execute("UPDATE job SET args = '{not json' WHERE id = ?", (poison.id,))
    db.close()
    async with working():
        assert await good.result(timeout=10) == 3
        with pytest.raises(JobFailedError):
            await poison.result(timeout=10)


async def test_jobs_run_beside_each_other(app, working):
    handles = [await jobs.patient.submit() for _ in range(8)]
    async with working(concurrency=8, grace_s=0.0):
        async with asyncio.timeout(10):
            for handle in handles:
                async for event in handle.events():
                    if event.type == "started":
                        break


@pytest.mark.parametrize("how", jobs.RUDE)
@pytest.mark.parametrize("task", [jobs.rude, jobs.rude_in_a_thread])
async def test_whatever_a_task_raises_is_its_own_failure(app, working, task, how):
    handle = await task.submit(how)

    async with working():
        with pytest.raises(JobFailedError) as caught:
            await handle.result(timeout=10)

    error = caught.value.facts["error"]
    assert error["attempt"] == (await handle.record()).attempt == 2
    assert error["type"] in {type(jobs.RUDE[how]).__name__, "RuntimeError"}


async def test_a_backoff_that_raises_gives_way_to_the_default_one(app, working):
    handle = await jobs.rude_curve.submit()

    async with working():
        async for event in handle.events():
            if event.type == "retrying":
                break

    error = (await handle.status()).error
    assert error["message"] == "the first error"
    assert "its backoff raised IndexError" in error["hint"]


async def test_what_was_claimed_ahead_and_not_started_is_given_back(app, working):
    await jobs.add.submit_batch([{"a": n, "b": 0} for n in range(50)])  # fast: now it looks ahead
    fast = Filter(task="add", status=Status.COMPLETED)
    slow = Filter(task="patient", status=Status.PROCESSING)

    async with working(concurrency=2, grace_s=0.1):
        await until(app.ledger, lambda: _count_is(app, fast, 50))
        await jobs.patient.submit_batch([{}] * 30)
        await until(app.ledger, lambda: _count_is(app, slow, 2))
        waiting = await app.ledger.find(Filter(task="patient", status=Status.PENDING), Page())
        history = await app.ledger.history(waiting[0].id)

    assert len(waiting) == 28
    assert {event.type for event in history} <= {"submitted", "started", "released"}
    assert {job.attempt for job in waiting} == {0}
    assert any(
        event.type == "released" for event in await app.ledger.history(None, type="released")
    )


async def _count_is(app, where, number):
    return (await app.ledger.count(where, "")).get((), 0) == number
