"""Whole fleets on SQS and on Kafka: killed workers, lost tickets, absent servers, long jobs."""

import asyncio
import json
import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import jobs
import pytest

from outlast.core.job import Filter
from outlast.core.limits import BROKER_SWEEP_US, SECOND
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.testing.kafka import private_kafka
from outlast.testing.sqs import private_sqs
from tests.broker.kafka_house import delete_topics
from tests.broker.sqs_house import client_of
from tests.broker.test_fleet import all_done, app_on, begun, until_quick, waits_of
from tests.worker.rig import fleets, until

JOBS = Path(jobs.__file__)
SWEEP_S = BROKER_SWEEP_US / SECOND
MANY = 2_000


@pytest.fixture
def start(tmp_path):
    with fleets(tmp_path, JOBS) as start:
        yield start


@pytest.fixture(params=["sqs", "kafka"])
def server(request):
    """A server that a test may harm."""
    request.getfixturevalue(request.param)  # so that what is missing is told
    with {"sqs": private_sqs, "kafka": private_kafka}[request.param]() as server:
        yield server


async def wipe(server):
    """Delete every topic, or purge every queue, while all use them."""
    if server.url.startswith("kafka"):
        assert await delete_topics(server, "outlast")
        return
    async with client_of(server) as client:
        urls = (await client.list_queues())["QueueUrls"]
        for url in urls:
            await client.purge_queue(QueueUrl=url)


@contextmanager
def hung(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def passing(seconds):
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


async def holder_of(app, handle):
    """Wait until a job's only step is done and it waits; return its worker's process ID."""
    await until(app.ledger, lambda: begun(app, handle.id, 1))
    (row,) = await app.ledger.get([handle.id])
    (doc,) = await app.ledger.docs("worker", row.holder)
    return json.loads(doc.doc)["pid"]


async def test_a_job_of_a_killed_worker_is_soon_another_s(tmp_path, start, server, record_property):
    start(processes=2, extra=["--broker", server.url])
    async with app_on(tmp_path, server.url) as app:
        await waits_of(app, 2)
        handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
        pid = await holder_of(app, handle)

        os.kill(pid, signal.SIGKILL)

        await until(app.ledger, lambda: begun(app, handle.id, 2))
        (tmp_path / "go").touch()
        await handle.result(timeout=20)
        events = {event.type: event.at for event in await app.ledger.history(handle.id)}
    recovered = (events["started"] - events["heartbeat-lost"]) / SECOND
    record_property("recovered_s", recovered)
    print(f"recovered in {recovered:.3f} s")
    assert recovered < SWEEP_S + 1


async def test_a_job_of_a_killed_fleet_is_soon_another_s(tmp_path, start, server):
    first = start(processes=1, extra=["--broker", server.url], start_new_session=True)
    async with app_on(tmp_path, server.url) as app:
        handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
        await holder_of(app, handle)
        start(processes=1, extra=["--broker", server.url])
        clock = asyncio.get_running_loop()

        killed = clock.time()
        os.kill(first.pid, signal.SIGKILL)

        await until(app.ledger, lambda: begun(app, handle.id, 2))
        recovered = clock.time() - killed
        print(f"recovered in {recovered:.3f} s")
        (tmp_path / "go").touch()
        await handle.result(timeout=20)
    assert recovered < SWEEP_S + 3


async def test_what_waits_when_all_tickets_are_lost_is_drained(tmp_path, start, server):
    start(processes=2, extra=["--broker", server.url])
    async with app_on(tmp_path, server.url) as app, silent_app_on(tmp_path) as silent:
        await waits_of(app, 2)
        clock = asyncio.get_running_loop()

        began = clock.time()
        await silent.add.submit_batch([{"a": number, "b": 1} for number in range(MANY)])
        await wipe(server)

        await until(app.ledger, lambda: at_least_one_done(app, 3))
        draining = clock.time() - began
        await until(app.ledger, lambda: all_done(app, MANY + 2))
        print(f"draining after {draining:.3f} s, {MANY} done after {clock.time() - began:.3f} s")
        assert draining < SWEEP_S + 1
        await until_quick(app)


def silent_app_on(folder):
    """Return an app that writes no ticket."""
    app = Outlast(ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs")

    @app.task
    async def add(a: int, b: int) -> int: ...

    app.add = add
    return app


async def at_least_one_done(app, count):
    counts = await app.ledger.count(Filter(status=Status.COMPLETED), "")
    return counts.get((), 0) >= count


async def test_jobs_are_taken_and_run_while_the_server_hangs(tmp_path, start, server):
    start(processes=2, extra=["--broker", server.url])
    async with app_on(tmp_path, server.url) as app:
        await waits_of(app, 2)
        clock = asyncio.get_running_loop()

        with hung(server):
            began = clock.time()
            handles = [await app.add.submit(number, 1) for number in range(50)]
            print(f"50 submits took {clock.time() - began:.3f} s")
            assert clock.time() - began < 2
            for handle in handles:
                await handle.result(timeout=SWEEP_S + 5)
            print(f"50 jobs done after {clock.time() - began:.3f} s")

        await until_quick(app)


async def test_a_server_that_died_and_came_back_empty_is_used_again(tmp_path, start, server):
    start(processes=2, extra=["--broker", server.url])
    async with app_on(tmp_path, server.url) as app:
        await waits_of(app, 2)

        server.stop(signal.SIGKILL)
        handles = [await app.add.submit(number, 1) for number in range(50)]
        for handle in handles:
            await handle.result(timeout=SWEEP_S + 5)
        server.start()

        await until_quick(app)


async def test_a_job_longer_than_the_broker_s_patience_runs_once(tmp_path, start, server):
    impatient = f"{server.url}&max_poll=3" if "kafka" in server.url else server.url
    start(processes=2, extra=["--broker", impatient, "--concurrency", "1"])
    async with app_on(tmp_path, server.url) as app:
        handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
        await holder_of(app, handle)

        await passing(8.0)  # the visibility is 2 s, and so is the session
        (tmp_path / "go").touch()
        await handle.result(timeout=20)

        types = [event.type for event in await app.ledger.history(handle.id)]
    assert types.count("started") == 1
    assert len((tmp_path / "marks").read_text().splitlines()) == 1
