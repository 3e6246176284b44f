"""Each queue that has settings has processes of its own, and what its settings say holds."""

import asyncio
import json
from pathlib import Path

import lanes
import pytest

from outlast.core.errors import JobFailedError, QueueFullError
from outlast.core.queue import QueueRules
from outlast.core.status import Status
from outlast.sdk.queues import change_queue
from outlast.sdk.settings import Settings
from tests.worker.rig import new_app, running, until

CONFIG = """
queues:
  slow: {worker_count: 2}
  fast: {max_duration: 1s, worker_count: 3, processes: 2}
"""


@pytest.fixture
async def app(tmp_path):
    lanes.app.configure(
        Settings(ledger=f"sqlite:///{tmp_path}/ledger.db", blobs=str(tmp_path / "blobs"))
    )
    async with lanes.app:
        yield lanes.app


@pytest.fixture
def divided(fleet, tmp_path):
    file = tmp_path / "outlast.yaml"
    file.write_text(CONFIG)
    return fleet(processes=1, file=Path(lanes.__file__), extra=("--config", str(file)))


async def workers(app):
    return [json.loads(doc.doc) for doc in await app.ledger.docs("worker") if doc.lease_until]


async def test_a_slow_queue_that_takes_all_its_processes_delays_no_other(app, divided, tmp_path):
    hogs = [await lanes.hog.submit(str(tmp_path)) for _ in range(3)]

    async def hogged():
        return [f for f in tmp_path.iterdir() if f.name.startswith("hog-")]

    (busy,) = await until(app.ledger, hogged)
    fast = await (await lanes.quick.submit()).result(timeout=20)
    other = await (await lanes.other.submit()).result(timeout=20)

    assert len({int(busy.name.partition("-")[2]), fast, other}) == 3
    ended = [handle for handle in hogs if (await handle.status()).status.terminal]
    assert ended == []
    (tmp_path / "go").touch()
    for handle in hogs:
        await handle.result(timeout=20)


async def test_a_queue_s_worker_count_is_divided_among_its_processes(app, divided):
    by_queue = {}
    for worker in await workers(app):
        by_queue.setdefault(tuple(worker["queues"]), []).append(worker["concurrency"])

    assert {queues: sorted(slots) for queues, slots in by_queue.items()} == {
        ("fast",): [1, 2],
        ("slow",): [2],
        ("other",): [16],
    }


async def test_a_job_over_its_queue_s_max_duration_is_stopped_and_says_so(app, divided):
    handle = await lanes.endless.submit()

    with pytest.raises(JobFailedError) as told:
        await handle.result(timeout=20)

    reason = "the attempt took longer than 1 s, the max_duration of its queue fast"
    assert reason in told.value.facts["error"]["message"]


async def test_how_many_run_at_once_follows_what_is_said_at_run_time(tmp_path):
    app = new_app(tmp_path)
    gate = asyncio.Event()

    @app.task(queue="q")
    async def wait() -> None:
        await gate.wait()

    async with app:
        handles = [await wait.submit() for _ in range(5)]

        async def processing(count):
            found = [(await handle.status()).status for handle in handles]
            return found.count(Status.PROCESSING) == count

        async with running(app, rules={"q": QueueRules(worker_count=2)}):
            await until(app.ledger, lambda: processing(2))
            await app.ledger.put("queue", "q", '{"worker_count": 4}')
            await until(app.ledger, lambda: processing(4))
            gate.set()


async def test_processes_that_have_nothing_to_do_are_not_kept(app, fleet, tmp_path):
    file = tmp_path / "outlast.yaml"
    file.write_text("queues: {slow: {}, fast: {}, other: {}}")

    fleet(processes=2, file=Path(lanes.__file__), extra=("--config", str(file)))

    assert sorted(worker["queues"] for worker in await workers(app)) == [
        ["fast"],
        ["other"],
        ["slow"],
    ]


async def test_a_queue_that_the_file_pauses_starts_nothing_until_somebody_resumes_it(tmp_path):
    app = new_app(tmp_path, queue_settings={"q": {"paused": True}})

    @app.task(queue="q")
    async def paused() -> str:
        return "done"

    @app.task(queue="open")
    async def free() -> str:
        return "done"

    async with app:
        waits, runs = await paused.submit(), await free.submit()
        async with running(app, rules={"q": app.rules.of("q")}):
            assert await runs.result(timeout=20) == "done"
            assert (await waits.status()).status is Status.PENDING
            await app.ledger.put("queue", "q", '{"paused": false}')
            assert await waits.result(timeout=20) == "done"


async def test_a_submit_in_python_follows_what_was_said_of_its_queue_at_run_time(tmp_path):
    app = new_app(tmp_path)

    @app.task(queue="q")
    async def noop() -> None:
        pass

    async with app:
        await change_queue(app.ledger, "q", {"max_depth": 1})
        await noop.submit()
        with pytest.raises(QueueFullError):
            await noop.submit()
