"""Loops that never start over."""

import asyncio
import random

import pytest
from pydantic import BaseModel

from outlast.core.errors import InvalidInputError, JobFailedError
from outlast.core.status import Status
from outlast.sdk.context import Job
from outlast.sdk.sync_context import SyncJob
from tests.worker.rig import AT_ONCE, DEADLINE_S, assert_told, new_app, running, types, until


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


async def test_a_crashing_loop_repeats_at_most_every_items(app):
    effects, starts = [], []
    dice = random.Random(7)

    @app.task(retries=200, backoff=AT_ONCE)
    async def loop(job: Job) -> int:
        starts.append(len(effects))
        die_at = dice.randrange(20, 120)
        async for n in job.resume(range(2_000), every=10):
            effects.append(n)
            if len(starts) <= 20 and len(effects) - starts[-1] == die_at:
                raise ConnectionError
        return len(effects)

    handle = await loop.submit()
    async with running(app):
        await handle.result(DEADLINE_S)

    assert len(starts) == 21
    assert sorted(set(effects)) == list(range(2_000))
    assert len(effects) - 2_000 <= 20 * 10
    again = [effects[at - 1] - effects[at] + 1 for at in starts[1:]]
    assert all(0 <= n <= 10 for n in again)


async def test_a_plain_function_resumes_too(app):
    effects = []

    @app.task(backoff=AT_ONCE)
    def loop(job: SyncJob) -> int:
        for letter in job.resume("abcdefghij", every=3):
            effects.append(letter)
            if letter == "h" and job.attempt == 1:
                raise ConnectionError
        return job.attempt

    handle = await loop.submit()
    async with running(app):
        assert await handle.result(DEADLINE_S) == 2
    assert "".join(effects) == "abcdefgh" + "ghij"


async def test_an_asynchronous_iterable_resumes_after_what_was_done(app):
    seen = []

    async def rows():
        for n in range(7):
            yield n

    @app.task(backoff=AT_ONCE)
    async def loop(job: Job) -> None:
        async for n in job.resume(rows(), every=2):
            seen.append(n)
            if n == 4 and job.attempt == 1:
                raise ConnectionError

    handle = await loop.submit()
    async with running(app):
        await handle.result(DEADLINE_S)
    assert seen == [0, 1, 2, 3, 4, 4, 5, 6]


async def test_a_worker_that_stops_hands_the_loop_back_where_it_is_at_no_cost(app):
    seen, half, go = [], asyncio.Event(), asyncio.Event()

    @app.task(retries=0)
    async def loop(job: Job) -> int:
        async for n in job.resume(range(100), every=1_000):
            seen.append(n)
            if n == 50 and not go.is_set():
                half.set()
                await go.wait()
        return len(seen)

    handle = await loop.submit()
    async with running(app) as pool:
        await half.wait()
        pool.drain()
        go.set()

    row = await assert_told(app.ledger, handle.id)
    assert (row.status, row.attempt) == (Status.PENDING, 0)
    assert seen == list(range(51))
    async with running(app):
        assert await handle.result(DEADLINE_S) == 100
    assert seen == list(range(100))
    assert "released" in await types(app, handle)


async def test_a_cursor_takes_no_room_in_the_history(app):
    @app.task
    async def loop(job: Job) -> None:
        async for _ in job.resume(range(500), every=1):
            pass

    handle = await loop.submit()
    async with running(app):
        await handle.result(DEADLINE_S)

    kinds = await types(app, handle)
    assert len(kinds) - kinds.count("progress") == 3
    assert (await handle.record()).cursor == '{"items":500}'


async def test_two_loops_and_a_value_are_kept_apart(app):
    seen = []

    @app.task(backoff=AT_ONCE)
    async def both(job: Job) -> str:
        seen.extend([("first", n) async for n in job.resume(range(3), every=1, name="first")])
        await job.remember("page", "token-9")
        async for n in job.resume(range(3), every=1, name="second"):
            if n == 1 and job.attempt == 1:
                raise ConnectionError
            seen.append(("second", n))
        return await job.recall("page")

    handle = await both.submit()
    async with running(app):
        assert await handle.result(DEADLINE_S) == "token-9"
    assert seen == [("first", 0), ("first", 1), ("first", 2)] + [("second", n) for n in range(3)]


@pytest.mark.parametrize("value", [float("nan"), [1, -float("inf")], {"x": object()}])
async def test_what_json_has_not_is_not_remembered_and_takes_nothing_away(app, value):
    @app.task
    async def odd(job: Job) -> list[str]:
        await job.remember("page", "NaN is a fine text")
        with pytest.raises(InvalidInputError, match="value to remember as page") as told:
            await job.remember("page", value)
        return [await job.recall("page"), str(told.value)]

    handle = await odd.submit()
    async with running(app):
        kept, told = await handle.result(DEADLINE_S)
    assert kept == "NaN is a fine text"
    assert "JSON" in told


async def test_a_loop_over_fewer_items_than_were_done_is_drift(app):
    @app.task(backoff=AT_ONCE)
    async def shrinks(job: Job) -> None:
        async for n in job.resume(range(10 if job.attempt == 1 else 3), every=1):
            if n == 7:
                raise ConnectionError

    handle = await shrinks.submit()
    async with running(app):
        with pytest.raises(JobFailedError, match=r"DriftError.*7 items were done.*has 3"):
            await handle.result(DEADLINE_S)


@pytest.mark.parametrize(("every", "name"), [(0, "a"), (1, ""), (1, "x" * 300)])
async def test_a_loop_with_wrong_settings_is_refused(app, every, name):
    @app.task
    async def wrong(job: Job) -> None:
        async for _ in job.resume([1], every=every, name=name):
            raise AssertionError

    handle = await wrong.submit()
    async with running(app):
        with pytest.raises(JobFailedError, match=InvalidInputError.__name__):
            await handle.result(DEADLINE_S)


class Old(BaseModel):
    cents: int
    note: str = ""


class WithDefault(Old):
    currency: str = "EUR"


class Renamed(BaseModel):
    cents: int


class Retyped(BaseModel):
    cents: float
    note: str


@pytest.mark.parametrize(("now", "fits"), [(WithDefault, True), (Renamed, False), (Retyped, False)])
async def test_a_stored_step_that_would_be_misread_is_drift(app, now, fits):
    @app.task(backoff=AT_ONCE)
    async def deployed(job: Job) -> str:
        def before() -> Old:
            return Old(cents=5, note="n")

        def after() -> now:
            raise AssertionError

        # The annotation that a deploy would have changed in the source.
        after.__annotations__["return"] = now
        await job.step("price", before if job.attempt == 1 else after)
        if job.attempt == 1:
            raise ConnectionError
        return "read"

    handle = await deployed.submit()
    async with running(app):
        if fits:
            assert await handle.result(DEADLINE_S) == "read"
        else:
            with pytest.raises(JobFailedError, match="DriftError"):
                await handle.result(DEADLINE_S)


async def test_nothing_is_saved_for_a_job_that_was_taken_over(app):
    reached, go = asyncio.Event(), asyncio.Event()

    @app.task
    async def loop(job: Job) -> None:
        async for n in job.resume(range(10), every=1):
            if n == 5:
                reached.set()
                await go.wait()

    handle = await loop.submit()
    async with running(app) as pool:
        await reached.wait()
        held = pool._running[handle.id]
        await app.ledger.extend([pool._config.holder], 0)

        async def taken():
            return (await handle.record()).status is not Status.PROCESSING

        await until(app.ledger, taken)
        go.set()
        await asyncio.wait([held.task])
        assert (await handle.record()).cursor == '{"items":5}'


async def test_a_redrive_goes_on_and_one_with_other_arguments_starts_over(app):
    ran, broken = [], [True]

    @app.task(retries=0)
    async def work(job: Job, n: int) -> int:
        def load() -> int:
            ran.append(n)
            return n

        loaded = await job.step("load", load)
        async for item in job.resume(range(3), every=1):
            ran.append(f"item {item}")
            if item == 1 and broken[0]:
                raise ConnectionError
        return loaded

    handle = await work.submit(n=1)
    async with running(app):
        with pytest.raises(JobFailedError):
            await handle.result(DEADLINE_S)
        broken[0] = False
        await handle.retry()
        assert await handle.result(DEADLINE_S) == 1
        assert ran == [1, "item 0", "item 1", "item 1", "item 2"]

        ran.clear()
        broken[0] = True
        again = await work.submit(n=1)
        with pytest.raises(JobFailedError):
            await again.result(DEADLINE_S)
        broken[0] = False
        ran.clear()
        await again.retry({"n": 2})
        assert await again.result(DEADLINE_S) == 2
    assert ran == [2, "item 0", "item 1", "item 2"]
