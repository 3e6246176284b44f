"""The laws about isolated jobs have teeth: a planted bug makes each fail."""

import contextlib
import os
import shutil
import signal

import pytest
import test_commands
import test_isolation
from test_death import gone

from outlast.core import transition
from outlast.core.confinement import Confinement
from outlast.core.errors import WaitTimeoutError
from outlast.sdk import command
from outlast.worker import cage

# What is planted into the wardens, which are processes of their own.
NO_SUBREAPER = "warden.prctl = lambda *_: None"
NO_WALLS = "warden.Warden._over_a_wall = lambda self: False"
FIRST_PROCESS_ONLY = (
    "warden.Warden._end_tree = lambda w: "
    "(w._status is None and warden.os.kill(w._pid, 9), w._reap())"
)
FOLDER_STAYS = "warden.remove_folder = lambda folder: None"
OOM_UNSEEN = "warden.cgroup.Group.oom_kills = lambda self: 0"
NO_PRIVILEGES_LOST = (
    "warden.prctl = (lambda real: lambda o, v: o == 38 or real(o, v))(warden.prctl)"
)


@pytest.fixture
def plant(monkeypatch):
    def planted(bug):
        program = cage._PROGRAM.replace("import main; main()", "import main")
        monkeypatch.setattr(
            cage, "_PROGRAM", f"{program}\nfrom outlast.worker import warden\n{bug}\nmain()"
        )

    return planted


@pytest.fixture
def survivor(tmp_path):
    """Whoever survived because of the planted bug must not survive the test."""
    yield
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("bug", [NO_SUBREAPER, FIRST_PROCESS_ONLY])
async def test_a_tree_that_is_left_is_caught(app, working, tmp_path, plant, survivor, bug):
    plant(bug)

    with pytest.raises(AssertionError):
        await test_isolation.test_nothing_of_the_tree_outlives_the_job(
            app, working, tmp_path, "off", "ends"
        )
    assert not gone(int((tmp_path / "left").read_text()))


async def test_a_folder_that_is_left_is_caught(app, working, tmp_path, plant):
    plant(FOLDER_STAYS)
    before = set(cage._place().iterdir())

    with pytest.raises(AssertionError):
        await test_isolation.test_a_job_s_folder_is_its_own_and_is_gone_after_it(
            app, working, tmp_path
        )
    for left in set(cage._place().iterdir()) - before:
        shutil.rmtree(left, ignore_errors=True)


async def test_a_limit_on_memory_that_does_not_hold_is_caught(
    app, working, tmp_path, plant, monkeypatch
):
    plant(NO_WALLS)
    monkeypatch.setattr(test_isolation, "WAIT_S", 3)

    with pytest.raises(WaitTimeoutError):
        await test_isolation.test_a_job_that_takes_too_much_memory_is_named_so(
            app, lambda **given: working(**given, grace_s=0.0), tmp_path, "off"
        )


@pytest.mark.root
async def test_an_oom_that_is_not_named_is_caught(app, working, tmp_path, plant):
    plant(OOM_UNSEEN)

    with pytest.raises(AssertionError, match="CrashedError"):
        await test_isolation.test_a_job_that_takes_too_much_memory_is_named_so(
            app, working, tmp_path, "auto"
        )


async def test_a_limit_on_processes_that_does_not_hold_is_caught(app, working, tmp_path, plant):
    plant(NO_WALLS)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_isolation.test_who_takes_all_processes_or_files_fails_alone(
            app, lambda **given: working(**given, grace_s=0.0), tmp_path, "off", "forks"
        )


async def test_a_crash_budget_that_is_not_kept_is_caught(app, working, tmp_path, monkeypatch):
    monkeypatch.setattr(transition, "LOST_MAX", 5)

    with pytest.raises(AssertionError):
        await (
            test_isolation.test_a_job_that_kills_its_process_thrice_is_dead_and_harms_no_neighbour(
                app, working, tmp_path, "abort", "SIGABRT"
            )
        )


async def test_an_environment_that_leaks_is_caught(app, working, tmp_path, monkeypatch):
    monkeypatch.setattr(Confinement, "environment", lambda _, worker, **__: dict(worker))

    with pytest.raises(AssertionError):
        await test_isolation.test_a_job_sees_nothing_of_its_worker_s_secrets(
            app, working, tmp_path, monkeypatch
        )


async def test_privileges_that_can_be_gained_are_caught(app, working, tmp_path, plant, monkeypatch):
    plant(NO_PRIVILEGES_LOST)

    with pytest.raises(AssertionError):
        await test_isolation.test_a_job_sees_nothing_of_its_worker_s_secrets(
            app, working, tmp_path, monkeypatch
        )


async def test_a_value_that_becomes_an_option_is_caught(app, monkeypatch):
    monkeypatch.setattr(command, "_guarded", lambda _name, _value, text, _end: text)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_commands.test_no_value_becomes_an_option_by_surprise(app, "-rf")
