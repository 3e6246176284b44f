"""Time in a user's test: it stands still for jobs until the test lets it pass."""

import asyncio
import inspect
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvloop

from outlast.api import create
from outlast.core.errors import InvalidInputError, JobFailedError, WaitTimeoutError
from outlast.sdk.queues import change_queue
from outlast.sdk.sync import SyncOutlast
from outlast.system import CLOCK
from outlast.testing import bench as bench_module
from outlast.testing import testing


async def test_no_job_runs_until_the_test_says_so(shop, t):
    handle = await shop.welcome.submit(user_id=1)
    await asyncio.to_thread(int)

    assert (t.job(handle).status, shop.did) == ("pending", [])
    assert await t.drain() == {"completed": 1}
    assert t.job(handle).result == "Hello, you"


async def test_jobs_that_wait_for_their_time_run_in_order_when_it_passes(shop, t):
    for days in (3, 1, 2):
        await shop.welcome.options(delay=timedelta(days=days)).submit(user_id=days)
    began, really = t.now, CLOCK.elapsed_us()

    assert await t.drain() == {}
    assert await t.advance("23h") == {}
    await t.advance("50h")

    assert [user for _, user in shop.did] == [1, 2, 3]
    assert t.now - began >= timedelta(hours=73)
    assert CLOCK.elapsed_us() - really < 10_000_000


async def test_a_drain_waits_for_the_future_only_as_long_as_it_is_told(shop, t):
    near = await shop.welcome.options(delay="1h").submit(user_id=1)
    far = await shop.welcome.options(delay="3h").submit(user_id=2)

    await t.drain(within="2h")

    assert (t.job(near).status, t.job(far).status) == ("completed", "scheduled")


async def test_a_job_may_sleep_for_days_and_stays_in_the_middle_meanwhile(shop, t):
    handle = await shop.patient.submit(days=3)

    await t.advance("2d")
    half_way = t.job(handle).status
    await t.advance("25h")

    assert (half_way, t.job(handle).result) == ("processing", "rested")


async def test_a_job_that_sleeps_as_long_as_time_passes_has_slept(shop, t):
    handles = [await shop.patient.submit(days=days) for days in (0.1, 3, 1 / 3)]

    assert await t.advance("3d") == {"completed": 3}
    assert [t.job(handle).result for handle in handles] == ["rested"] * 3


async def test_a_drain_lets_running_jobs_have_the_time_they_need(shop, t):
    handle = await shop.patient.submit(days=400)

    await t.drain()

    assert t.job(handle).status == "completed"


async def test_retries_come_after_their_backoff(shop, t):
    handle = await shop.flaky.submit()

    seen = []
    for _ in range(3):
        await t.drain()
        seen.append((t.job(handle).status, t.runs(handle)))
        await t.advance("10m")

    assert seen == [("scheduled", 1), ("scheduled", 2), ("completed", 3)]


async def test_limits_hold_in_skipped_time(shop, t):
    slow = await shop.patient.options(timeout="1h", max_attempts=1).submit(days=1)
    late = await shop.patient.options(delay="2d", deadline="1d").submit(days=1)
    unwanted = await shop.welcome.options(delay="2d", expires_in="1d").submit(user_id=1)

    assert await t.advance("1d") == {"failed": 2, "cancelled": 1}
    assert t.job(slow).error["message"] == "the attempt took longer than 3600 s"
    assert t.job(late).error["type"] == "DeadlineError"
    assert t.job(unwanted).attempts == 0


async def test_whoever_waits_for_a_result_lets_time_pass(shop, t):
    rested, failed = await shop.patient.submit(days=0.01), await shop.flaky.submit()
    never = await shop.patient.submit(days=1)

    assert await rested.result() == "rested"
    with pytest.raises(WaitTimeoutError):
        await never.result(timeout=60)
    assert await failed.result(timeout=1_300) == 3
    assert t.job(never).status == "processing"


async def test_jobs_that_submit_jobs_and_wait_for_them_are_drained(shop, t):
    @shop.app.task
    async def parent() -> str:
        child = await shop.welcome.options(delay="10m").submit(user_id=2)
        return await child.result()

    handle = await parent.submit()
    await t.drain()

    assert t.job(handle).result == "Hello, you"


async def test_the_work_of_a_thread_takes_real_time_and_none_is_skipped_meanwhile(shop, t):
    go = threading.Event()

    @shop.app.task(timeout="1h", retries=0)
    def grind() -> bool:
        return go.wait(0.3)

    handle = await grind.submit()
    before = t.now
    await t.drain()

    assert t.job(handle).result is False
    assert t.now - before < timedelta(minutes=1)


@pytest.mark.parametrize(("patience", "status"), [("5s", "completed"), (0, "failed")])
async def test_a_socket_is_waited_for_with_patience(shop, patience, status):
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            threading.Event().wait(0.2)
            connection.sendall(b"pong")

    @shop.app.task(retries=0, timeout="1h")
    async def call() -> None:
        with socket.create_connection(listener.getsockname()) as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(connection, b"ping")
            await asyncio.get_running_loop().sock_recv(connection, 100)

    server = threading.Thread(target=answer)
    with listener:
        server.start()
        async with testing(shop.app, patience=patience) as t:
            handle = await call.submit()
            await t.drain()
            server.join()

            assert t.job(handle).status == status


async def test_a_job_that_waits_for_nothing_is_told(shop, t):
    @shop.app.task
    async def stuck(n: int) -> None:
        await asyncio.Event().wait()

    await stuck.submit(n=7)

    with pytest.raises(AssertionError, match=r"stuck\(n=7\) waits for what does not come"):
        await t.drain()


async def test_a_job_without_an_end_is_told(shop, t, monkeypatch):
    monkeypatch.setattr(bench_module, "LEAPS_MAX", 500)

    @shop.app.task
    async def endless() -> None:
        while True:
            await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=1)

    await endless.submit()

    with pytest.raises(AssertionError, match=r"after 500 timers, .* no end of endless\(\)"):
        await t.drain()


async def test_a_job_cannot_let_time_pass_itself(shop, t):
    @shop.app.task(retries=0)
    async def meddling() -> None:
        await t.advance("1d")

    handle = await meddling.submit()
    await t.drain()

    with pytest.raises(JobFailedError, match="a job can't let time pass"):
        await handle.result()


@pytest.mark.parametrize("workers", [1, 2])
async def test_each_worker_has_its_own_slots(shop, workers):
    async with testing(shop.app, workers=workers) as t:
        for _ in range(40):
            await shop.patient.submit(days=1)
        await t.advance("1h")

        assert sum(job.status == "processing" for job in t.submitted) == workers * 16


async def test_a_web_handler_may_submit_and_look(shop, t):
    web = create(shop.app, host="127.0.0.1")
    transport = httpx.ASGITransport(web)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        asked = await client.post("/v1/jobs", json={"task": "patient", "args": {"days": 2}})
        place = f"/v1/jobs/{asked.json()['id']}"

        t.assert_submitted(shop.patient, days=2)
        await t.advance("1d")
        half_way = (await client.get(place)).json()
        await t.drain()
        done = (await client.get(place)).json()

    assert (half_way["status"], done["status"], done["result"]) == (
        "processing", "completed", "rested",
    )  # fmt: skip


async def test_a_test_begins_when_it_says(shop):
    async with testing(shop.app, now="2030-01-01T00:00:00Z") as t:
        await shop.welcome.options(run_at=datetime(2030, 1, 2, tzinfo=UTC)).submit(user_id=1)
        await t.advance("1d")

        assert t.now >= datetime(2030, 1, 2, tzinfo=UTC)
        assert shop.did == [("welcome", 1)]


async def test_the_loop_is_given_back_and_its_time_goes_on(shop):
    loop = asyncio.get_running_loop()
    async with testing(shop.app) as t:
        await shop.patient.submit(days=1)
        await t.advance("1h")
        inside = loop.time()

    assert inside <= loop.time() < inside + 60
    assert "select" not in vars(loop._selector)
    assert [task for task in asyncio.all_tasks() if "Pool" in repr(task)] == []


async def test_many_blocks_on_one_loop_do_not_pile_up(shop):
    loop, before = asyncio.get_running_loop(), sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        for _ in range(150):
            async with testing(shop.app) as t:
                await t.advance("1d")
    finally:
        sys.setrecursionlimit(before)

    assert loop.time() > 150 * 86_400


async def test_what_was_asked_to_stop_stops_when_time_goes_on(shop, t):
    handle = await shop.patient.submit(days=2)
    await t.advance("1d")

    assert await handle.cancel() == "cancelling"
    assert await t.drain() == {"cancelled": 1}


def test_a_loop_whose_time_cannot_be_skipped_is_refused(shop):
    async def main():
        async with testing(shop.app) as t:
            await t.drain()

    with pytest.raises(InvalidInputError, match=r"expected asyncio's own event loop, got Loop"):
        uvloop.run(main())


def test_plain_code_has_the_same(shop):
    with testing(shop.app) as t, SyncOutlast(shop.app) as jobs:
        first = jobs.submit(shop.welcome.options(delay="1d"), user_id=1)
        second = t.submit(shop.report)

        assert t.drain() == {"completed": 1}
        assert t.advance("1d") == {"completed": 1}
        assert (t.job(first).result, first.result()) == ("Hello, you", "Hello, you")
        assert t.job(second).steps == {"load": "loaded"}
        t.deliver_again(second)


def test_plain_code_that_waits_before_time_passes_is_told_what_to_do(shop):
    with testing(shop.app) as t, SyncOutlast(shop.app) as jobs:
        t.drain()
        handle = jobs.submit(shop.welcome, user_id=1)

        with pytest.raises(InvalidInputError, match="call drain or advance first"):
            handle.result()


async def test_the_app_has_its_own_stores_again(tmp_path, shop):
    shop.app.configure(shop.app.settings.__class__(ledger=f"sqlite:///{tmp_path}/real.db"))
    async with shop.app:
        real = await shop.welcome.submit(user_id=1)
        async with testing(shop.app) as t:
            async with shop.app:  # as the code under test may do
                await shop.welcome.submit(user_id=2)
            await t.drain()
            assert [job.args["user_id"] for job in t.submitted] == [2]

        assert (await real.status()).status == "pending"
        assert len(await shop.app.ledger.history(None)) == 1


async def test_a_paused_queue_holds_its_jobs_until_it_is_opened(shop, t):
    await change_queue(shop.app, "default", {"paused": True})
    await t.advance("1m")
    handle = await shop.welcome.submit(user_id=1)

    await t.advance("1h")
    held = t.job(handle).status
    await change_queue(shop.app, "default", {"paused": False})
    await t.advance("1m")

    assert (held, t.job(handle).status) == ("pending", "completed")
