"""Outlast as a backend of Django's Tasks framework (its own, or the backport)."""

import asyncio
import sys
from datetime import datetime, timedelta
from functools import partial
from io import StringIO

import httpx
import pytest
from django.apps import apps
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.test import modify_settings, override_settings
from django.utils import timezone
from starlette.applications import Starlette
from starlette.routing import Mount

from outlast.core.errors import QueueFullError
from outlast.core.job import Filter, Page, Transition
from outlast.core.status import Status
from outlast.django import framework, runner
from outlast.django.framework import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, task
from outlast.django.result import STATUSES
from outlast.sdk.queues import change_queue
from outlast.sdk.sync import SyncHandle
from tests.frameworks.django_fixtures import BACKEND, at_work, backends, house

__all__ = ["house"]
DUMMY = framework.BaseTaskBackend.__module__.replace("base", "dummy.DummyBackend")
READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
SUCCESSFUL, FAILED = TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED


def queue():
    return framework.task_backends["default"].site.queue


def handle(result) -> SyncHandle:
    return queue().handle(result.id)


async def ended(result):
    """Return a result once its job has ended."""
    app = framework.task_backends["default"].site.app
    async for _ in app.handle(result.id).events():
        pass
    await result.arefresh()
    return result


@pytest.fixture
def told():
    """Collect what the framework's signals tell."""
    heard = []
    signals = ("task_enqueued", "task_started", "task_finished")
    listeners = {
        name: lambda name=name, task_result=None, **_: heard.append((name, task_result.status))
        for name in signals
    }
    for name, listener in listeners.items():
        getattr(framework, name).connect(listener)
    yield heard
    for name, listener in listeners.items():
        getattr(framework, name).disconnect(listener)


@pytest.mark.parametrize("name", ["add", "add_later"])
async def test_an_enqueued_task_runs_and_its_result_says_all_the_framework_asks(house, name):
    chosen = getattr(house, name)
    results = [chosen.enqueue(1, b=2), await chosen.aenqueue(1, b=2)]
    for result in results:
        assert (result.status, result.attempts, result.started_at) == (READY, 0, None)

    async with at_work():
        for result in results:
            done = await ended(result)

            assert (done.status, done.return_value, done.is_finished) == (SUCCESSFUL, 3, True)
            assert done.enqueued_at <= done.started_at == done.last_attempted_at
            assert done.started_at <= done.finished_at
            assert (done.args, done.kwargs) == ([1], {"b": 2})
            assert (done.attempts, len(done.worker_ids), done.errors) == (1, 1, [])
            assert (done.task, done.backend) == (chosen, "default")
            assert await chosen.aget_result(done.id) == done


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda house: house.fail.enqueue("good"), ValueError, "failed for good"),
        (lambda house: house.fail_later.enqueue("good"), ValueError, "failed for good"),
        (lambda house: house.leave.enqueue(), SystemExit, "left"),
        (lambda house: house.moment.enqueue(), TypeError, "Unsupported type"),
    ],
)
async def test_a_task_that_raises_is_failed_with_its_error(house, call, kind, message):
    result = call(house)

    async with at_work():
        await ended(result)

    assert result.status == FAILED
    (error,) = result.errors
    assert error.exception_class is kind
    assert message in error.traceback.splitlines()[-1]
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


async def test_a_failed_attempt_is_ready_again_and_the_next_may_succeed(house, told):
    result = house.second_time_lucky.enqueue()
    app = framework.task_backends["default"].site.app
    async with at_work():
        async for event in app.handle(result.id).events():
            if event.type == "retrying":
                break
    await result.arefresh()
    assert (result.status, len(result.errors), result.attempts) == (READY, 1, 1)

    record = await app.handle(result.id).record()
    assert (record.max_attempts, record.status) == (3, Status.SCHEDULED)
    async with at_work():
        await app.ledger.commit([_now(record)])
        await ended(result)

    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 2, 2)
    assert [error.exception_class for error in result.errors] == [RuntimeError]
    started = ("task_started", RUNNING)
    # One object is told of twice, so that its receivers see how it ended.
    assert [name for name, _ in told] == [
        "task_enqueued",
        "task_started",
        "task_started",
        "task_finished",
    ]
    assert told[1] == told[2] == started
    assert told[3] == ("task_finished", SUCCESSFUL)


def _now(record):
    return Transition(record.id, Status.SCHEDULED, None, Status.PENDING, "due")


async def test_a_task_that_gives_up_is_told_of_as_finished_at_once(house, told):
    result = house.hopeless.enqueue()

    async with at_work():
        await ended(result)

    assert (result.status, result.attempts) == (FAILED, 1)
    assert told[-1] == ("task_finished", FAILED)


async def test_a_task_that_takes_its_context_gets_the_job_with_it(house):
    result = house.about.enqueue("hello")

    async with at_work():
        await ended(result)

    assert result.return_value == [result.id, "RUNNING", 1, "hello"]
    assert handle(result).status().progress["message"] == "hello"


async def test_a_higher_priority_runs_first(house):
    low = house.add.using(priority=-5).enqueue(1)
    high = house.add.using(priority=5).enqueue(2)

    async with at_work(concurrency=1):
        await ended(low)
        await ended(high)

    assert high.started_at < low.started_at
    assert house.add.get_result(low.id).task.priority == -5


def test_queue_priority_and_policy_reach_the_job(house, tmp_path):
    with override_settings(TASKS=backends(tmp_path, retries=6, timeout="1m")):
        first, second = house.heavy.enqueue(), house.fail.enqueue("x")

        (heavy, fail) = queue().wait(_rows([first, second]))
        assert (heavy.queue, heavy.priority, heavy.task) == (
            "slow", 7, "tests.frameworks.house.tasks.heavy",
        )  # fmt: skip
        assert (heavy.max_attempts, heavy.timeout_us) == (7, 60_000_000)
        assert (fail.max_attempts, fail.timeout_us) == (1, 60_000_000)
        assert house.heavy.get_result(first.id).task == house.heavy


async def _rows(results):
    app = framework.task_backends["default"].site.app
    return await app.ledger.get([result.id for result in results])


def test_a_task_waits_for_its_time(house):
    later = timezone.now() + timedelta(days=1)

    result = house.add.using(run_after=later).enqueue(1)

    assert result.status == READY
    assert handle(result).status().status is Status.SCHEDULED
    assert house.add.get_result(result.id).task.run_after == later


def test_without_time_zones_times_are_local(house, tmp_path):
    with override_settings(USE_TZ=False, TASKS=backends(tmp_path)):
        later = datetime(2100, 1, 1, 12)  # noqa: DTZ001 - that is the point

        result = house.add.using(run_after=later).enqueue(1)

        assert result.enqueued_at.tzinfo is None
        assert house.add.get_result(result.id).task.run_after == later


def test_a_result_that_is_none_of_ours_does_not_exist(house):
    for odd in ("123", 5, "019ab0a0-0000-7000-8000-000000000000"):
        with pytest.raises(TaskResultDoesNotExist):
            house.add.get_result(odd)


def test_a_result_of_another_task_does_not_match(house):
    result = house.other.enqueue()

    with pytest.raises(Exception, match="Task does not match"):
        house.add.get_result(result.id)


async def test_a_cancelled_job_is_a_failed_task(house):
    result = house.add.enqueue(1)

    assert handle(result).cancel() == "cancelled"
    await result.arefresh()

    assert result.status == FAILED
    assert result.errors[0].exception_class.__name__ == "JobCancelled"


def test_every_status_has_a_word_in_the_framework():
    assert set(STATUSES) == set(Status)
    assert set(STATUSES.values()) == set(TaskResultStatus)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda house: house.add.using(queue_name="unknown"), "Queue 'unknown' is not valid"),
        (lambda house: house.add.using(priority=101), "between -100 and 100"),
        (lambda house: house.add.using(run_after=datetime(2100, 1, 1)), "aware"),  # noqa: DTZ001
        (lambda _: task(lambda: None), "module level"),
        (lambda house: task(takes_context=True)(house.add.func), "first argument of 'context'"),
        (lambda house: task(retries=-1)(house.plain), "retries: expected"),
        (lambda house: task(timeout="soon")(house.plain), "timeout"),
        (lambda house: house.hidden.enqueue(), "a worker would not find this task"),
        (lambda _: task(timezone.now).enqueue(), "a worker would not find this task"),
    ],
)
def test_what_could_not_be_run_is_refused_at_the_door(house, wrong, said):
    with pytest.raises(InvalidTask, match=said):
        wrong(house)


def test_a_queue_that_is_full_takes_no_task(house):
    site = framework.task_backends["default"].site

    async def narrow():
        await change_queue(site.app, "default", {"max_depth": 1})

    site.queue.wait(narrow())
    house.add.enqueue(1)

    with pytest.raises(QueueFullError):
        house.add.enqueue(2)
    assert house.heavy.enqueue().status == READY


def test_arguments_that_are_no_json_are_refused(house):
    with pytest.raises(TypeError, match="Unsupported type"):
        house.add.enqueue(timezone.now())


def test_only_the_projects_own_modules_are_imported_for_a_job():
    for path in ("this.s", "antigravity.fly", "os.system", "django.test.client.x"):
        assert runner.find(path) is None

    assert not {"this", "antigravity"} & sys.modules.keys()
    assert runner.find("tests.frameworks.house.tasks.plain") is None
    assert runner.find("tests.frameworks.house.nothing.x") is None


async def test_a_worker_finds_tasks_as_their_jobs_come_and_no_others(house):
    async with at_work() as app:
        assert "tests.frameworks.house.tasks.add" in app.tasks
        assert app.tasks.get("tests.frameworks.house.tasks.plain") is None


def test_the_frameworks_own_check_of_its_backends_passes(house):
    said = StringIO()

    call_command("check", stdout=said)

    assert "no issues" in said.getvalue()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ledgr": "x"}, "got ledgr"),
        ({"retries": -3}, "retries: expected"),
        ({"ledger": "memory://"}, "can't be shared"),
        ({"config": "/nowhere.yaml"}, "there is no file"),
    ],
)
def test_wrong_options_are_told_by_the_check(tmp_path, options, said):
    with (
        override_settings(TASKS=backends(tmp_path, **options)),
        pytest.raises(SystemCheckError, match=rf"outlast\.E002[\s\S]*{said}"),
    ):
        call_command("check")


def test_a_ledger_in_the_projects_own_file_is_refused_by_the_check(tmp_path, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "NAME", tmp_path / "a" / ".." / "site.db")
    with (
        override_settings(TASKS=backends(tmp_path, ledger=f"sqlite:///{tmp_path}/site.db")),
        pytest.raises(SystemCheckError, match=r"outlast\.E002[\s\S]*DATABASES\['default'\]"),
    ):
        call_command("check")


def test_a_project_that_lacks_the_app_is_told_so(tmp_path):
    with (
        modify_settings(INSTALLED_APPS={"remove": "outlast.django"}),
        override_settings(TASKS=backends(tmp_path)),
        pytest.raises(SystemCheckError, match=r'outlast\.E001[\s\S]*"outlast.django"'),
    ):
        call_command("check")


def test_enqueueing_in_a_transaction_is_at_once_unless_told_otherwise(house):
    seen = []
    with transaction.atomic():
        house.add.enqueue(1)
        transaction.on_commit(partial(house.other.enqueue))
        seen += queue().wait(_all())
    seen += queue().wait(_all())
    connections.close_all()

    assert [job.task.rpartition(".")[2] for job in seen] == ["add", "other", "add"]


async def _all():
    return await framework.task_backends["default"].site.app.ledger.find(Filter(), Page())


async def opened(results):
    """Return the database connections that these results' jobs made."""
    made = []

    @receiver(connection_created)
    def note(connection, **_):
        made.append(connection)

    async with at_work():
        for result in results:
            await ended(result)
    connection_created.disconnect(note)
    return made


async def test_a_job_leaves_no_connection_to_the_database_open(house):
    made = await opened([house.tables.enqueue(), house.tables_later.enqueue()])

    assert len(made) == 2
    assert [connection.connection for connection in made] == [None, None]


class Careless:
    def close_all(self):
        pass


async def test_without_its_care_a_job_would_leave_one_open(house, monkeypatch):
    runner.registered.cache_clear()
    monkeypatch.setattr(runner, "connections", Careless())

    (left,) = await opened([house.tables.enqueue()])

    assert left.connection is not None
    left.inc_thread_sharing()
    await asyncio.to_thread(left.close)


def test_one_process_has_one_app_for_all_its_threads(house):
    config = apps.get_app_config("outlast")
    first = framework.task_backends["default"].site

    assert config.site(framework.task_backends["default"].settings) is first


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"BACKEND": DUMMY}, "is no OutlastBackend"),
        ({"BACKEND": BACKEND, "QUEUES": []}, "name some with --queue"),
        ({"BACKEND": BACKEND, "OPTIONS": {"ledger": "memory://"}}, "can't be shared"),
    ],
)
def test_the_worker_command_says_what_it_lacks(tasks, said, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "kept")

    with override_settings(TASKS={"default": tasks}), pytest.raises(CommandError, match=said):
        call_command("outlast_worker", skip_checks=True)


async def test_the_dashboard_can_be_mounted_beside_a_django_site(house):
    result = house.add.enqueue(1, b=2)
    jobs = framework.task_backends["default"].site.app
    site = Starlette(routes=[Mount("/jobs", jobs), Mount("/", get_asgi_application())])
    transport = httpx.ASGITransport(site, client=("127.0.0.1", 4711))

    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        shown = (await web.get(f"/jobs/v1/jobs/{result.id}")).json()
        assert (shown["task"], shown["args"]["args"]) == ("tests.frameworks.house.tasks.add", [1])
        assert "static/app.js" in (await web.get("/jobs/")).text
        refused = await web.post("/jobs/v1/jobs", json={"task": shown["task"]})
        assert refused.status_code == 422
    await jobs.close()
