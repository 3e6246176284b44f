"""Whole fleets on real brokers: fast while the broker is there, and right when it is not."""

import asyncio
import json
import os
import signal
from pathlib import Path

import jobs
import pytest

from outlast.broker import open_broker
from outlast.broker.protocol import Ticket
from outlast.core.job import Filter
from outlast.core.limits import BROKER_SWEEP_US, SECOND
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.system import new_id
from outlast.testing.rabbitmq import private_rabbitmq
from outlast.testing.redis import private_redis
from tests.broker.sqs_house import VISIBILITY_S
from tests.worker.rig import fleets, until

JOBS = Path(jobs.__file__)
SOON_S = 1.5  # a sweep takes four at least; a machine that is busy is slow


@pytest.fixture
def start(tmp_path):
    with fleets(tmp_path, JOBS) as start:
        yield start


def app_on(folder, broker):
    app = Outlast(ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs", broker=broker)

    @app.task
    async def add(a: int, b: int) -> int: ...

    @app.task
    async def stepped(folder: str, steps: int) -> list[int]: ...

    app.add, app.stepped = add, stepped
    return app


async def waits_of(app, count):
    """Submit jobs one after the other, when all workers wait; return how long each waited."""
    waits = []
    for number in range(count):
        handle = await app.add.submit(number, 1)
        assert await handle.result(timeout=20) == number + 1
        row = await handle.record()
        waits.append((row.started_at - row.submitted_at) / SECOND)
    return waits


@pytest.fixture(params=["rabbitmq_server", "redis_server", "sqs"])
def broker(request):
    return request.getfixturevalue(request.param).url


async def test_a_fleet_is_woken_by_its_broker(tmp_path, start, broker):
    start(processes=2, extra=["--broker", broker])
    async with app_on(tmp_path, broker) as app:
        waits = await waits_of(app, 20)

    assert sorted(waits)[15] < SOON_S


async def test_a_job_of_a_killed_worker_is_another_s_by_a_ticket(tmp_path, start, redis_server):
    start(processes=2, extra=["--broker", redis_server.url])
    async with app_on(tmp_path, redis_server.url) as app:
        handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
        await until(app.ledger, lambda: begun(app, handle.id, 1))
        (row,) = await app.ledger.get([handle.id])
        (doc,) = await app.ledger.docs("worker", row.holder)
        os.kill(json.loads(doc.doc)["pid"], signal.SIGKILL)
        await until(app.ledger, lambda: begun(app, handle.id, 2))
        (tmp_path / "go").touch()
        await handle.result(timeout=20)

        events = {event.type: event.at for event in await app.ledger.history(handle.id)}
    assert (events["started"] - events["heartbeat-lost"]) / SECOND < SOON_S


async def test_a_node_looks_at_once_for_what_it_rescued_though_its_broker_is_dead(tmp_path, start):
    with private_redis() as server:
        nodes = [start(processes=1, extra=["--broker", server.url]) for _ in range(2)]
        async with app_on(tmp_path, server.url) as app:
            handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
            await until(app.ledger, lambda: begun(app, handle.id, 1))
            server.stop(signal.SIGKILL)
            (row,) = await app.ledger.get([handle.id])
            (doc,) = await app.ledger.docs("worker", row.holder)
            worker = json.loads(doc.doc)["pid"]
            (node,) = [one for one in nodes if one.pid == parent_of(worker)]
            for victim in (node.pid, worker):
                os.kill(victim, signal.SIGKILL)

            await until(app.ledger, lambda: begun(app, handle.id, 2))
            (tmp_path / "go").touch()
            await handle.result(timeout=20)

            events = {event.type: event.at for event in await app.ledger.history(handle.id)}
    assert (events["started"] - events["heartbeat-lost"]) / SECOND < SOON_S


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def begun(app, job_id, attempt):
    (row,) = await app.ledger.get([job_id])
    return row.status is Status.PROCESSING and row.attempt == attempt


@pytest.mark.fault("F22")
async def test_a_dead_broker_costs_a_sweep_and_comes_back_by_itself(tmp_path, start):
    with private_redis() as server:
        start(processes=2, extra=["--broker", server.url])
        async with app_on(tmp_path, server.url) as app:
            await waits_of(app, 3)

            server.stop(signal.SIGKILL)
            clock = asyncio.get_running_loop()
            began = clock.time()
            handles = [await app.add.submit(number, 1) for number in range(50)]
            assert clock.time() - began < 2
            for handle in handles:
                await handle.result(timeout=BROKER_SWEEP_US / SECOND + 5)

            server.start()
            await until_quick(app)


async def until_quick(app):
    """Wait until tickets wake workers again: five in a row, which sweeps would not manage."""
    async with asyncio.timeout(60):
        while max(await waits_of(app, 5)) >= SOON_S:
            pass


@pytest.mark.fault("F21")
async def test_a_wiped_broker_loses_no_job(tmp_path, start, redis_house):
    url = redis_house.server.url
    async with app_on(tmp_path, url) as app:
        for number in range(200):
            await app.add.submit(number, 1)
        await redis_house.wipe()

        start(processes=2, extra=["--broker", url])
        await until(app.ledger, lambda: all_done(app, 200))


async def all_done(app, count):
    return (await app.ledger.count(Filter(status=Status.COMPLETED), "")).get((), 0) == count


async def starts_of(app, ids):
    return {
        job_id: [event.type for event in await app.ledger.history(job_id)].count("started")
        for job_id in ids
    }


@pytest.mark.fault("F18", "F19", "F20")
async def test_repeated_reordered_and_forged_tickets_start_nothing_twice(tmp_path, start, broker):
    start(processes=2, extra=["--broker", broker])
    publisher = open_broker(broker)
    async with app_on(tmp_path, broker) as app:
        ended = [(await app.add.submit(number, 1)).id for number in range(20)]
        await until(app.ledger, lambda: all_done(app, 20))
        mine = [(await app.add.submit(number, 1)).id for number in range(60)]
        unknown = [new_id() for _ in range(20)]
        for _ in range(3):
            them = [Ticket("default", job_id) for job_id in (*ended, *unknown, *reversed(mine))]
            await publisher.publish(them)
        await until(app.ledger, lambda: all_done(app, 80))
        await until(app.ledger, lambda: is_empty(publisher))

        starts = await starts_of(app, [*ended, *mine])
    await publisher.close()

    assert set(starts.values()) == {1}


async def is_empty(broker):
    return await broker.depth(["default"]) == {"default": 0}


@pytest.mark.fault("F26")
async def test_a_job_outlasts_every_visibility_timeout(tmp_path, start, sqs):
    start(processes=2, extra=["--broker", sqs.url])
    clock = asyncio.get_running_loop()
    async with app_on(tmp_path, sqs.url) as app:
        handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
        await until(app.ledger, lambda: begun(app, handle.id, 1))
        over = clock.time() + 3 * VISIBILITY_S
        while clock.time() < over:
            await waits_of(app, 1)  # others run meanwhile
        (tmp_path / "go").touch()
        await handle.result(timeout=20)

        assert await starts_of(app, [handle.id]) == {handle.id: 1}


LOOKS_OFTEN = "application:set_env(rabbit, channel_tick_interval, 500)."  # once a minute otherwise


@pytest.mark.fault("F25")
async def test_a_job_outlasts_rabbitmq_s_patience_with_acknowledgements(tmp_path, start):
    with private_rabbitmq({"consumer_timeout": "2000"}) as server:
        server.control("eval", LOOKS_OFTEN)
        await assert_takes_back(server.url)
        start(processes=2, extra=["--broker", server.url])
        clock = asyncio.get_running_loop()
        async with app_on(tmp_path, server.url) as app:
            handle = await app.stepped.submit(folder=str(tmp_path), steps=1)
            await until(app.ledger, lambda: begun(app, handle.id, 1))
            over = clock.time() + 6
            while clock.time() < over:
                await waits_of(app, 1)
            (tmp_path / "go").touch()
            await handle.result(timeout=20)

            assert await starts_of(app, [handle.id]) == {handle.id: 1}


async def assert_takes_back(url):
    """See that this server takes from who does not acknowledge: or the test would prove nothing."""
    holder, other = open_broker(url), open_broker(url)
    await holder.publish([Ticket("held", "1")])
    assert await holder.receive(["held"], 1, 10)
    async with asyncio.timeout(30):
        while not (got := await other.receive(["held"], 1, 1.0)):
            pass
    await other.ack(got)
    await asyncio.gather(holder.close(), other.close())
