"""Schedules in Python: what the code declares, and what becomes of it when that changes."""

import json
from datetime import timedelta

import pytest

from outlast.core.errors import (
    ChangedError,
    InvalidInputError,
    KeyReusedError,
    NotFoundError,
    QueueFullError,
)
from outlast.core.job import Filter, Page
from outlast.core.limits import DAY, HOUR
from outlast.core.unique import Unique
from outlast.sdk.app import Outlast
from outlast.system import CLOCK
from outlast.upkeep.tick import Ticker


def code(folder, *, cron="0 3 * * *", retries=3, typed=int, declared=True, **settings):
    """One version of an app's code."""
    app = Outlast(ledger=f"sqlite:///{folder}/outlast.db", **settings)

    async def tidy(days) -> None: ...

    tidy.__annotations__["days"] = typed
    handle = app.task(retries=retries)(tidy)
    if declared:
        app.schedule(cron, zone="Europe/Berlin", args={"days": 7}, tags=["x"])(handle)
    return app


async def started(app):
    """A worker starts with this code."""
    async with app:
        await app.schedules.sync()
        return {one["name"]: one for one in await app.schedules.all()}


async def record(folder):
    async with Outlast(ledger=f"sqlite:///{folder}/outlast.db") as app:
        (doc,) = await app.ledger.docs("schedule", "tidy")
        return json.loads(doc.doc)


async def test_a_declared_schedule_is_there_once_a_worker_has_started(tmp_path):
    first = await started(code(tmp_path))
    again = await started(code(tmp_path))

    assert first == again
    assert first["tidy"]["source"] == "code"
    assert first["tidy"]["spec"] == {
        "task": "tidy", "args": {"days": 7}, "cron": "0 3 * * *", "zone": "Europe/Berlin",
        "tags": ["x"],
    }  # fmt: skip


async def test_changed_code_changes_its_schedule_and_leaves_it_paused(tmp_path):
    await started(code(tmp_path))
    async with code(tmp_path) as app:
        await app.schedules.pause("tidy")

    found = await started(code(tmp_path, cron="0 4 * * *", retries=7))

    assert found["tidy"]["spec"]["cron"] == "0 4 * * *"
    assert (found["tidy"]["paused"], found["tidy"]["edited"]) == (True, False)
    assert (await record(tmp_path))["job"]["max_attempts"] == 8


async def test_what_a_person_has_changed_stays_though_the_code_changes(tmp_path):
    await started(code(tmp_path))
    async with code(tmp_path) as app:
        spec = (await app.schedules.get("tidy"))["spec"]
        await app.schedules.put("tidy", {**spec, "cron": "0 5 * * *"})

    found = await started(code(tmp_path, cron="0 4 * * *", retries=7))

    assert (found["tidy"]["spec"]["cron"], found["tidy"]["edited"]) == ("0 5 * * *", True)
    assert (await record(tmp_path))["job"]["max_attempts"] == 8  # the policy is the task's


async def test_a_removed_schedule_of_the_code_comes_back_as_the_code_says(tmp_path):
    await started(code(tmp_path))
    async with code(tmp_path) as app:
        await app.schedules.put("tidy", {"task": "tidy", "args": {"days": 1}, "every": "1h"})
        await app.schedules.remove("tidy")

    found = await started(code(tmp_path))

    assert (found["tidy"]["spec"]["cron"], found["tidy"]["edited"]) == ("0 3 * * *", False)


async def test_a_person_s_schedule_is_not_taken_over_by_code_of_the_same_name(tmp_path):
    async with code(tmp_path, declared=False) as app:
        await app.schedules.put("tidy", {"task": "tidy", "args": {"days": 1}, "every": "1h"})

    found = await started(code(tmp_path))

    assert (found["tidy"]["source"], found["tidy"]["spec"]["every"]) == ("person", "1h")


async def test_a_worker_starts_beside_records_of_a_later_release_and_leaves_them(tmp_path):
    app = code(tmp_path)
    async with app:
        await app.schedules.sync()
        (doc,) = await app.ledger.docs("schedule")
        later = doc.doc.replace('"format":1', '"format":2')
        await app.ledger.put("schedule", "tidy", later)

        await app.schedules.sync()

        assert (await app.ledger.docs("schedule"))[0].doc == later


async def test_a_start_with_the_same_code_writes_nothing(tmp_path):
    app = code(tmp_path)

    @app.schedule("@daily")
    @app.task(unique=Unique(within="1d"))
    async def slow() -> None: ...

    async with app:
        await app.schedules.sync()
        before = await app.ledger.docs("schedule")
        await app.schedules.sync()

        assert await app.ledger.docs("schedule") == before


async def test_arguments_that_fit_no_more_stop_a_schedule_which_says_so(tmp_path):
    async with code(tmp_path, declared=False) as app:
        await app.schedules.put("tidy", {"task": "tidy", "args": {"days": 1}, "every": "1h"})

    found = await started(code(tmp_path, declared=False, typed=str))

    assert "args.days" in found["tidy"]["error"]["message"]
    async with code(tmp_path, declared=False) as app:
        await Ticker(app.ledger, CLOCK).tick(CLOCK.now_us() + DAY)
        assert await app.ledger.find(Filter(), Page()) == []
        await app.schedules.sync()  # the code is as it was
        assert (await app.schedules.get("tidy"))["error"] is None
        await Ticker(app.ledger, CLOCK).tick(CLOCK.now_us() + DAY)
        assert len(await app.ledger.find(Filter(), Page())) == 1


async def test_a_tick_has_the_task_s_policy_and_the_schedule_s_options(tmp_path):
    app = code(tmp_path, declared=False, retries=1)
    options = {"queue": "slow", "priority": 5, "expires_in": "2h", "timeout": 300}
    async with app:
        spec = {"task": "tidy", "args": {"days": 7}, "every": "1h", **options}
        await app.schedules.put("tidy", spec)
        await Ticker(app.ledger, CLOCK).tick(CLOCK.now_us() + HOUR)

        (job,) = await app.ledger.find(Filter(tag="schedule:tidy"), Page())

    assert (job.args, job.queue, job.priority, job.max_attempts) == ('{"days":7}', "slow", 5, 2)
    assert (job.timeout_us, job.expires_at - job.submitted_at) == (300 * 10**6, 2 * HOUR)


def test_a_wrong_declaration_is_refused_where_it_stands(tmp_path):
    app = code(tmp_path)
    with pytest.raises(InvalidInputError, match="declared twice"):
        app.schedules.declare("tidy", {"task": "tidy", "args": {"days": 7}, "every": "1h"})
    with pytest.raises(InvalidInputError, match=r"above @app\.task"):
        app.schedule("0 4 * * *")(code)

    @app.task
    async def other(n: int) -> None: ...

    for wrong, told in [
        ({"args": {"n": "x"}}, "args.n"),
        ({}, "args.n"),
        ({"args": {"n": 1}, "zone": "Mars/X"}, "zone"),
        ({"args": {"n": 1}, "colour": 1}, "colour"),
        ({"args": {"n": 1}, "every": "1m"}, "cron and every"),
        ({"args": {"n": 1}, "name": "a b"}, "name"),
    ]:
        with pytest.raises(InvalidInputError, match=told):
            app.schedule("0 4 * * *", **wrong)(other)
    assert list(app.schedules.declared) == ["tidy"]


def test_a_task_can_have_several_schedules_and_durations_of_any_kind():
    app = Outlast()

    @app.schedule("@weekly", name="often", jitter=timedelta(minutes=5))
    @app.schedule(every=timedelta(seconds=90), name="rarely", missed="skip")
    @app.task
    async def work() -> None: ...

    assert app.schedules.declared == {
        "rarely": {"task": "work", "every": 90.0, "missed": "skip"},
        "often": {"task": "work", "cron": "@weekly", "jitter": 300.0},
    }


async def test_a_trigger_obeys_keys_and_full_queues(tmp_path):
    queues = {"slow": {"max_depth": 1}}
    async with code(tmp_path, declared=False, queue_settings=queues) as app:
        spec = {"task": "tidy", "args": {"days": 7}, "every": "1h", "queue": "slow"}
        await app.schedules.put("tidy", spec)

        first = await app.schedules.trigger("tidy", key="k")
        again = await app.schedules.trigger("tidy", key="k")

        assert (first.id, again.duplicate) == (again.id, True)
        with pytest.raises(QueueFullError):
            await app.schedules.trigger("tidy")
        await app.schedules.put("other", {**spec, "queue": "default"})
        with pytest.raises(KeyReusedError):
            await app.schedules.trigger("other", key="k")
        with pytest.raises(InvalidInputError):
            await app.schedules.trigger("tidy", key="")


async def test_who_read_another_version_changes_nothing(tmp_path):
    async with code(tmp_path, declared=False) as app:
        spec = {"task": "tidy", "args": {"days": 7}, "every": "1h"}
        made, is_new = await app.schedules.put("tidy", spec, version=0)
        changed, _ = await app.schedules.put("tidy", spec, version=made["version"])

        assert is_new
        assert changed["version"] > made["version"]
        for version in (0, made["version"]):
            with pytest.raises(ChangedError):
                await app.schedules.put("tidy", spec, version=version)
            with pytest.raises(ChangedError):
                await app.schedules.remove("tidy", version=version)
        with pytest.raises(NotFoundError):
            await app.schedules.get("nope")


async def test_a_tick_of_a_unique_task_finds_the_job_that_still_waits(tmp_path):
    app = Outlast(ledger=f"sqlite:///{tmp_path}/outlast.db")

    @app.task(unique=Unique(within="1d"))
    async def slow() -> None: ...

    async with app:
        await app.schedules.put("slow", {"task": "slow", "every": "1h"})
        ticker = Ticker(app.ledger, CLOCK)
        for hours in (1, 2, 3):
            await ticker.tick(CLOCK.now_us() + hours * HOUR)

        (job,) = await app.ledger.find(Filter(), Page())
        assert (await app.schedules.get("slow"))["last_job_id"] == job.id
