"""A job in its own process harms nobody, sees little, and leaves nothing behind."""

import json
import os
import signal

import jobs
import pytest
from test_death import gone

from outlast.core.errors import JobFailedError
from tests.worker.rig import assert_told, has_event, until

ROOTED = pytest.param("auto", marks=pytest.mark.root)
WAIT_S = 60


async def fails(app, handle):
    with pytest.raises(JobFailedError) as caught:
        await handle.result(WAIT_S)
    row = await assert_told(app.ledger, handle.id)
    return caught.value.facts["error"], row


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("how", "told"),
    [("segfault", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", "exit code 3")],
)
async def test_a_job_that_kills_its_process_thrice_is_dead_and_harms_no_neighbour(
    app, working, tmp_path, how, told
):
    async with working():
        beside = await jobs.bystander.submit(str(tmp_path))
        await has_event(app, beside, "progress")
        error, row = await fails(app, await jobs.deadly.submit(how))
        (tmp_path / "go").touch()
        assert await beside.result(WAIT_S)
    assert (error["type"], error["reason"]) == ("CrashedError", "crashed")
    assert told in error["message"]
    assert (row.attempt, row.lost) == (3, 3)  # of ten attempts
    assert (await beside.record()).attempt == 1


@pytest.mark.fault("F6")
@pytest.mark.parametrize("cgroup", [ROOTED, "off"])
async def test_a_job_that_takes_too_much_memory_is_named_so(app, working, tmp_path, cgroup):
    async with working(cgroup=cgroup):
        beside = await jobs.bystander.submit(str(tmp_path))
        await has_event(app, beside, "progress")
        error, row = await fails(app, await jobs.greedy.submit())
        (tmp_path / "go").touch()
        await beside.result(WAIT_S)
    assert (error["type"], error["reason"]) == ("OutOfMemoryError", "crashed")
    assert "may have 96 MB" in error["message"]
    assert error["facts"]["limit_bytes"] == 96 << 20
    assert error["facts"]["peak_bytes"] >= 90 << 20
    assert row.lost == 3


@pytest.mark.root
async def test_with_a_control_group_the_limit_on_memory_is_exact(app, working):
    async with working():
        error, _ = await fails(app, await jobs.greedy.submit())
    assert error["facts"]["peak_bytes"] <= 96 << 20


async def test_cpu_time_is_bounded_and_its_end_is_no_crash(app, working):
    async with working():
        error, row = await fails(app, await jobs.busy.submit())
    assert error["type"] == "CpuTimeError"
    assert "0.5 s of CPU time" in error["message"]
    assert row.lost == 0


@pytest.mark.fault("F9")
@pytest.mark.parametrize("cgroup", [ROOTED, "off"])
@pytest.mark.parametrize("how", ["forks", "files", "threads"])
async def test_who_takes_all_processes_or_files_fails_alone(app, working, tmp_path, cgroup, how):
    async with working(cgroup=cgroup):
        beside = await jobs.bystander.submit(str(tmp_path))
        await has_event(app, beside, "progress")
        error, _ = await fails(app, await jobs.deadly.options(max_attempts=1).submit(how))
        (tmp_path / "go").touch()
        await beside.result(WAIT_S)
    expected = {
        ("forks", "auto"): ("BlockingIOError", "Resource temporarily unavailable"),
        ("threads", "auto"): ("RuntimeError", "can't start new thread"),
        ("files", "auto"): ("OSError", "Too many open files"),
        ("files", "off"): ("OSError", "Too many open files"),
        ("forks", "off"): ("CrashedError", "more than 64 processes"),
        ("threads", "off"): ("CrashedError", "more than 64 processes"),
    }
    kind, message = expected[how, cgroup]
    assert error["type"] == kind
    assert message in error["message"]
    if how != "files":
        assert "max_processes" in f"{error['message']} {error.get('hint')}"


async def test_a_job_sees_nothing_of_its_worker_s_secrets(app, working, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/x")
    monkeypatch.setenv("OUTLAST_LEDGER", "postgresql://user:hunter2@db/x")
    (tmp_path / "go").touch()
    async with working():
        seen = await (await jobs.bystander.submit(str(tmp_path))).result(WAIT_S)
    assert "hunter2" not in str(seen["environment"])
    assert seen["environment"]["PATH"] == os.environ["PATH"]
    assert seen["environment"]["TMPDIR"] == seen["cwd"]
    assert seen["privileges"] == ["1"]


async def test_a_job_s_folder_is_its_own_and_is_gone_after_it(app, working, tmp_path):
    (tmp_path / "go").touch()
    async with working():
        first = await (await jobs.bystander.submit(str(tmp_path))).result(WAIT_S)
        second = await (await jobs.bystander.submit(str(tmp_path))).result(WAIT_S)
    assert first["cwd"] != second["cwd"]
    for seen in (first, second):
        assert not is_there(seen["cwd"])
        assert not is_there(seen["cwd"] + ".lock")


async def test_a_missing_variable_is_told_with_the_way_to_pass_it(app, working, monkeypatch):
    monkeypatch.setenv("KEPT_BACK", "x")
    monkeypatch.setenv("LET_THROUGH", "seen")
    async with working():
        error, _ = await fails(app, await jobs.needy.submit("KEPT_BACK"))
        other, _ = await fails(app, await jobs.needy.submit("NOBODY_HAS_IT"))
        assert await (await jobs.needy.submit("LET_THROUGH")).result(WAIT_S) == "seen"
    assert 'env=("KEPT_BACK",)' in error["hint"]
    assert "hint" not in other


@pytest.mark.fault("F8")
@pytest.mark.parametrize("cgroup", [ROOTED, "off"])
@pytest.mark.parametrize("how", ["ends", "dies"])
async def test_nothing_of_the_tree_outlives_the_job(app, working, tmp_path, cgroup, how):
    async with working(cgroup=cgroup):
        handle = await jobs.forking.submit(str(tmp_path), how)
        if how == "ends":
            assert await handle.result(WAIT_S) == "done"
        else:
            await fails(app, handle)
        # Its attempt is settled once nothing of it is left.
        assert gone(int((tmp_path / "left").read_text()))
    assert not is_there((tmp_path / "cwd").read_text())


@pytest.mark.fault("F8")
async def test_nothing_of_the_tree_outlives_a_killed_worker(app, fleet, tmp_path):
    fleet(processes=1)
    handle = await jobs.forking.submit(str(tmp_path), "waits")
    await has_event(app, handle, "started")
    await until(app.ledger, lambda: is_so(lambda: is_there(tmp_path / "waits")))
    (doc,) = await app.ledger.docs("worker", (await handle.record()).holder)
    os.kill(json.loads(doc.doc)["pid"], signal.SIGKILL)

    await fails(app, handle)

    folder = (tmp_path / "cwd").read_text()
    await until(app.ledger, lambda: is_so(lambda: not is_there(folder)))
    assert gone(int((tmp_path / "left").read_text()))


async def test_a_real_worker_s_descriptors_stay_with_it(app, fleet):
    fleet(processes=1)
    handle = await jobs.descriptors.submit()
    await handle.result(WAIT_S)
    log, completed = (await app.ledger.history(handle.id))[-2:]
    assert json.loads(log.data)["message"] == "['0', '1', '2', '3']"  # the last one reads the list
    # A copy of its pipes somewhere would keep them open, and the worker waiting for their end.
    assert completed.at - log.at < 5_000_000


@pytest.mark.root
async def test_a_job_that_kills_its_warden_is_taken_back_with_all_its_processes(
    app, working, tmp_path
):
    async with working():
        error, _ = await fails(app, await jobs.forking.submit(str(tmp_path), "kills its warden"))
    assert error["type"] == "CrashedError"
    assert gone(int((tmp_path / "left").read_text()))
    assert not is_there((tmp_path / "cwd").read_text())


@pytest.mark.fault("F10")
async def test_who_ignores_sigterm_is_killed_with_all_that_it_started(app, working, tmp_path):
    async with working():
        error, row = await fails(app, await jobs.deaf.submit(str(tmp_path)))
    assert error["type"] == "TimeoutError"
    assert "it was killed" in error["message"]
    assert row.lost == 0  # we killed it: that is no crash of its own
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def is_there(path):
    return os.path.lexists(path)


async def is_so(true):
    return true()


@pytest.mark.parametrize("how", ["text", "panic", "interrupt", "exit", "cancelled"])
async def test_whatever_an_isolated_task_raises_is_its_own_failure(app, working, how):
    async with working():
        error, row = await fails(app, await jobs.rude_alone.submit(how))

    assert error["type"] in {type(jobs.RUDE[how]).__name__, "RuntimeError"}
    assert (row.attempt, row.lost) == (2, 0)
