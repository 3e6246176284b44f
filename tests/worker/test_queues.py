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
from outlast.sdk.task import policy_of
from outlast.worker.cage import Cages
from outlast.worker.executors import Executors
from tests.worker.rig import new_app, running, until

CONFIG = """
queues:
  slow: {worker_count: 2}
  fast: {max_duration: 1s, worker_count: 3, processes: 2}
"""
HEAVY = "queues: {heavy: {isolation: process, memory: 200MB}}"


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
        ("heavy", "other"): [16],
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


@pytest.fixture
def heavy(fleet, tmp_path):
    file = tmp_path / "outlast.yaml"
    file.write_text(HEAVY)
    return fleet(processes=1, file=Path(lanes.__file__), extra=("--config", str(file)))


async def test_a_job_that_takes_more_memory_than_its_queue_has_is_dead_and_harms_no_other(
    app, heavy, tmp_path
):
    neighbour = await lanes.beside.submit(str(tmp_path))
    await until(app.ledger, lambda: is_there(tmp_path / "beside"))

    with pytest.raises(JobFailedError) as told:
        await (await lanes.glutton.submit()).result(timeout=60)
    (tmp_path / "go").touch()

    error = told.value.facts["error"]
    assert (error["type"], error["facts"]["limit_bytes"]) == ("OutOfMemoryError", 200 << 20)
    assert "may have 200 MB" in error["message"]
    assert "raise the memory of its task or its queue" in error["message"]
    assert await neighbour.result(timeout=20)
    assert (await neighbour.record()).attempt == 1
    (worker,) = [w for w in await workers(app) if w["queues"] == ["heavy"]]
    assert await (await lanes.at_home.submit()).result(timeout=20) == worker["pid"]


async def is_there(path):
    return path.exists()


async def test_isolation_follows_what_is_said_of_the_queue_at_run_time(app, fleet, tmp_path):
    fleet(processes=1, file=Path(lanes.__file__))
    (tmp_path / "go").touch()
    (worker,) = await workers(app)
    pid = await (await lanes.beside.submit(str(tmp_path))).result(timeout=20)
    assert pid == worker["pid"]

    await change_queue(app, "heavy", {"isolation": "process"})

    async def moves():
        pid = await (await lanes.beside.submit(str(tmp_path))).result(timeout=20)
        return pid != worker["pid"]

    await until(app.ledger, moves)


async def test_what_a_task_says_of_isolation_counts_over_its_queue_word_by_word():
    rules = QueueRules.read({"isolation": "process", "memory": "200MB", "max_files": 64})
    said = {
        "nothing": {},
        "none": {"isolation": "none"},
        "memory": {"isolation": "process", "memory": "1GB", "max_processes": 32},
    }

    policies = {name: policy_of(**policy).in_queue(rules) for name, policy in said.items()}

    found = {
        name: (p.isolation, p.confinement.memory, p.confinement.files, p.confinement.processes)
        for name, p in policies.items()
    }
    assert found["nothing"] == ("process", 200 << 20, 64, 512)
    assert found["none"][0] == "none"
    assert found["memory"] == ("process", 1 << 30, 64, 32)
    alone = policy_of(isolation="process").in_queue(QueueRules())
    assert (alone.confinement.memory, alone.confinement.files) == (None, 4_096)
    assert policy_of().in_queue(QueueRules()).isolation is None


async def test_a_job_is_run_as_its_queue_says_and_that_is_chosen_once():
    rules = QueueRules(isolation="process")
    tasks = {task.name: task for task in lanes.app.tasks.values()}

    runs = Executors(tasks, Cages({}), [])

    assert runs.of("beside", rules).policy.isolation == "process"
    assert runs.of("beside", rules) is runs.of("beside", QueueRules(isolation="process"))
    assert runs.of("beside", None) is tasks["beside"]
    assert runs.of("nobody", rules) is None


async def test_processes_that_have_nothing_to_do_are_not_kept(app, fleet, tmp_path):
    file = tmp_path / "outlast.yaml"
    file.write_text("queues: {slow: {}, fast: {}, other: {}, heavy: {}}")

    fleet(processes=2, file=Path(lanes.__file__), extra=("--config", str(file)))

    assert sorted(worker["queues"] for worker in await workers(app)) == [
        ["fast"],
        ["heavy"],
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
        await change_queue(app, "q", {"max_depth": 1})
        await noop.submit()
        with pytest.raises(QueueFullError):
            await noop.submit()
