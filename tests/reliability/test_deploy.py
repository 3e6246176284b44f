"""Two versions of the code at once: no job is lost to the one that lacks its task."""

import asyncio
import signal
from contextlib import asynccontextmanager
from textwrap import dedent

import pytest

from outlast.core import transition
from outlast.core.errors import JobFailedError, WaitTimeoutError
from outlast.core.limits import MINUTE, MISSING_MAX
from outlast.core.retry import Backoff
from outlast.core.status import Status
from outlast.sdk.task_handle import TaskHandle
from tests.reliability.rig import SETTLES_S, assert_kept, gate
from tests.worker.rig import AT_ONCE, assert_told, data_of, has_event, new_app, running

HEAD = """
import asyncio, socket
from outlast import Job, Outlast

app = Outlast()

def at_gate(port: int, job: Job) -> None:
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(f"{job.id} {job.token} 0 gate\\n".encode())
        gate.recv(1)
"""
OLD = """
@app.task
async def renamed(job: Job, port: int) -> list[str]:
    first = await job.step("first", lambda: "one")
    await asyncio.to_thread(at_gate, port, job)
    return [first, await job.step("second", lambda: "two")]

@app.task
async def removed(job: Job, port: int) -> str:
    await job.step("gone", lambda: "never asked for again")
    await asyncio.to_thread(at_gate, port, job)
    return "old"

@app.task
async def retyped(job: Job, port: int) -> int:
    def count() -> int:
        return 1
    n = await job.step("count", count)
    await asyncio.to_thread(at_gate, port, job)
    return n
"""
NEW = """
@app.task
async def renamed(job: Job, port: int) -> list[str]:
    first = await job.step("the first", lambda: "uno")
    return [first, await job.step("second", lambda: "two")]

@app.task
async def removed(job: Job, port: int) -> str:
    return "new"

@app.task
async def retyped(job: Job, port: int) -> list[str]:
    def count() -> list[str]:
        return ["a"]
    return await job.step("count", count)

@app.task
async def fresh(n: int) -> int:
    return n

@app.task(isolation="process")
def apart(n: int) -> int:
    return n
"""


@pytest.fixture
def versions(tmp_path):
    """Write both versions of an app."""
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text(HEAD + dedent(OLD))
    new.write_text(HEAD + dedent(NEW))
    return old, new


@asynccontextmanager
async def submitting(tmp_path, file):
    """Load a version to submit its tasks."""
    from outlast.sdk.load import load_app
    from outlast.sdk.settings import Settings

    app = load_app(str(file))
    app.configure(Settings(ledger=f"sqlite:///{tmp_path}/ledger.db", blobs=str(tmp_path / "blobs")))
    async with app:
        yield app


def task(app, name):
    return TaskHandle(app, app.tasks[name])


@pytest.mark.fault("F57")
async def test_jobs_of_the_old_code_go_on_under_the_new_or_say_clearly_why_not(
    fleet, tmp_path, versions
):
    waiting = asyncio.Semaphore(0)

    async def decide(pid, token, what):
        waiting.release()
        await asyncio.Event().wait()  # until its process is gone

    async with gate(decide) as port, submitting(tmp_path, versions[0]) as app:
        old = fleet(processes=1, file=versions[0])
        names = ("renamed", "removed", "retyped")
        handles = [await task(app, name).submit(port=port) for name in names]
        async with asyncio.timeout(SETTLES_S):
            for _ in handles:
                await waiting.acquire()
        old.kill()
        fleet(processes=1, file=versions[1])

        renamed, removed, retyped = handles
        assert await renamed.result(timeout=SETTLES_S) == ["uno", "two"]
        assert await removed.result(timeout=SETTLES_S) == "new"
        with pytest.raises(JobFailedError, match=r"DriftError.*'count'"):
            await retyped.result(timeout=SETTLES_S)
        await assert_kept(app.ledger, tmp_path, handles)


@pytest.mark.fault("F57", "F53")
async def test_a_worker_that_lacks_the_task_leaves_it_to_one_that_has_it(fleet, tmp_path, versions):
    async with submitting(tmp_path, versions[1]) as app:
        fleet(processes=1, file=versions[0])
        handle = await task(app, "fresh").submit(n=1)
        await has_event(app, handle, "retrying")
        row = await assert_told(app.ledger, handle.id)
        assert (row.status, row.attempt) == (Status.SCHEDULED, 0)
        assert "has no task 'fresh'" in row.error
        fleet(processes=1, file=versions[1])

        assert await handle.result(timeout=SETTLES_S) == 1
        told = await assert_kept(app.ledger, tmp_path, [handle])
        assert told.rows[handle.id].attempt == 1


@pytest.mark.fault("F57")
async def test_code_that_changes_on_the_disk_under_a_running_worker_costs_no_attempt(
    fleet, tmp_path, versions
):
    _, new = versions
    async with submitting(tmp_path, new) as app:
        supervisor = fleet(processes=1, file=new)
        whole = new.read_text()
        new.write_text(whole.partition('@app.task(isolation="process")')[0])
        handle = await task(app, "apart").submit(n=1)
        await has_event(app, handle, "retrying")
        (said,) = await data_of(app, handle, "retrying")
        assert (said["missing"], said["attempts_used"]) == (1, 0)
        new.write_text(whole)
        assert await handle.result(timeout=SETTLES_S) == 1
        await assert_kept(app.ledger, tmp_path, [handle])
        supervisor.send_signal(signal.SIGTERM)


async def bounded(tmp_path):
    async with new_app(tmp_path) as app:

        @app.task(name="gone", retries=0)
        async def gone() -> None:
            return None

        @app.task(name="there")
        async def there() -> int:
            return 1

        lost, kept = await gone.submit(), await there.submit()
        async with running(app, tasks={"there": app.tasks["there"]}):
            assert await kept.result(SETTLES_S) == 1
            with pytest.raises(JobFailedError, match=r"no task 'gone'.*redrive"):
                await lost.result(SETTLES_S)
        times = [said["missing"] for said in await data_of(app, lost, "retrying")]
        assert times == list(range(1, MISSING_MAX + 1))
        row = await assert_told(app.ledger, lost.id)
        assert row.attempt == 1
        # A redrive is a new run with a bound of its own.
        await lost.retry()
        async with running(app, tasks={"there": app.tasks["there"]}):
            await has_event(app, lost, "retrying", MISSING_MAX + 1)
        assert (await data_of(app, lost, "retrying"))[-1]["missing"] == 1


@pytest.mark.fault("F53", "F57")
async def test_a_task_that_no_worker_has_makes_a_dead_letter_after_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(transition, "MISSING_MAX", 5)
    monkeypatch.setitem(globals(), "MISSING_MAX", 5)
    monkeypatch.setattr(transition, "MISSING_BACKOFF", Backoff(base_us=1_000, jitter=False))

    await bounded(tmp_path)


@pytest.mark.parametrize("planted", ["it costs an attempt", "it has no bound"])
async def test_that_law_finds_workers_that_fail_or_never_end_what_they_lack(
    tmp_path, monkeypatch, planted
):
    real = transition.missing

    def costly(lease, *, times, at):
        error = {"type": "TaskMissing", "message": "no task 'gone'", "retryable": True}
        return transition.failed(lease, error, backoff=AT_ONCE, dice=0.0)

    def endless(lease, *, times, at):
        return real(lease, times=min(times, MISSING_MAX - 1), at=at)

    monkeypatch.setitem(globals(), "MISSING_MAX", 5)
    monkeypatch.setitem(globals(), "SETTLES_S", 1.5)
    monkeypatch.setattr(transition, "MISSING_MAX", 5)
    monkeypatch.setattr(transition, "MISSING_BACKOFF", Backoff(base_us=1_000, jitter=False))
    monkeypatch.setattr(transition, "missing", costly if "costs" in planted else endless)

    with pytest.raises((AssertionError, WaitTimeoutError)):
        await bounded(tmp_path)


def test_the_bound_is_about_an_hour():
    from outlast.core.retry import MISSING_BACKOFF

    total = sum(MISSING_BACKOFF.delay_us(n, 0.0) for n in range(1, MISSING_MAX + 1))

    assert 55 * MINUTE <= total <= 65 * MINUTE
