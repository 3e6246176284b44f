"""Schedules are looked at and changed alike on a ledger and through a server."""

import json

import pytest

from outlast.core.job import Filter, Page
from tests.cli.rig import served, using

NIGHTLY = ("task=add", 'args={"a": 1, "b": 2}', "cron=30 2 * * *", "zone=Europe/Berlin")


@pytest.fixture(params=["ledger", "server"])
def target(request, url, app, monkeypatch):
    """The options that choose a ledger, or a server of the app."""
    if request.param == "ledger":
        yield ("--ledger", url)
        return
    from outlast.sdk.load import load_app
    from outlast.sdk.settings import Settings

    loaded = load_app(str(app))
    loaded.configure(Settings.load(ledger=url))
    with served(loaded) as address:
        yield ("--url", address)


@pytest.fixture
def said(run, target):
    def invoke(*arguments, code=0):
        result = run("schedules", *arguments, *target, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout or result.stderr)

    return invoke


def test_a_schedule_is_made_changed_paused_triggered_and_removed(said, app, url):
    made = said("set", "nightly", *NIGHTLY, "jitter=5m", "--app", app)
    assert made["spec"]["cron"] == "30 2 * * *"
    assert said("show", "nightly")["version"] == made["version"]
    changed = said("set", "nightly", "cron=0 4 * * *", "jitter=none")
    assert changed["spec"] == {
        "task": "add", "args": {"a": 1, "b": 2}, "cron": "0 4 * * *", "zone": "Europe/Berlin",
    }  # fmt: skip
    assert said("pause", "nightly")["paused"] is True
    assert said("resume", "nightly")["next_at"] is not None
    job = said("trigger", "nightly")
    assert (job["task"], job["tags"]) == ("add", ["schedule:nightly"])
    ticks = said("preview", "nightly", "-n", 3)["ticks"]
    assert [tick["local"][11:16] for tick in ticks] == ["04:00"] * 3
    assert [one["name"] for one in said("list")["schedules"]] == ["nightly"]
    assert said("remove", "nightly") == {"removed": "nightly"}
    assert said("show", "nightly", code=4)["error"] == "not-found"
    (made,) = using(url, lambda ledger: ledger.find(Filter(), Page()))
    assert made.id == job["id"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["cron=0 25 * * *"], "hour"),
        (["zone=Mars/X"], "zone"),
        (["colour=red"], "colour"),
        (["task=nope"], "task"),
        (["cron"], "FIELD=VALUE"),
    ],
)
def test_what_is_wrong_is_told_by_its_field_and_changes_nothing(said, app, settings, told):
    before = said("set", "nightly", *NIGHTLY, "--app", app)

    assert told in said("set", "nightly", *settings, code=2)["detail"]
    assert said("show", "nightly") == before


def test_people_see_the_next_ticks_by_the_zone_s_clock(run, target, app):
    run("schedules", "set", "nightly", *NIGHTLY, "--app", app, *target)

    table = run("schedules", *target).stdout
    shown = run("schedules", "show", "nightly", *target).stdout

    assert "30 2 * * * Europe/Berlin" in table
    assert "02:30:00 CE" in table
    assert shown.count(" 02:30:00+0") == 5


def test_a_schedule_of_a_strange_record_is_listed(run, target, url):
    using(url, lambda ledger: ledger.put("schedule", "odd", "{"))

    result = run("schedules", *target)

    assert (result.exit_code, "can't be read" in result.stdout) == (0, True)


def test_without_the_app_no_schedule_is_made_on_a_ledger(run, url):
    result = run("schedules", "set", "nightly", *NIGHTLY, "--ledger", url)

    assert result.exit_code == 2
    assert "task: expected a registered task" in result.stderr
