"""Looking and acting give the same on a ledger and through a server."""

import json

import pytest

from outlast.core.limits import LEASE_US
from tests.cli.rig import using


@pytest.fixture
def said(run, target):
    """Run a command on the target with --json; give what it said."""

    def invoke(*arguments, code=0):
        result = run(*arguments, *target, "--json")
        assert result.exit_code == code, result.output
        return [json.loads(line) for line in (result.stdout or result.stderr).splitlines()]

    return invoke


def test_jobs_are_listed_newest_first_and_filtered(said, put):
    first, failed = put("completed"), put("failed", tags='["reports"]')
    last = put(queue="slow")

    def ids(*filters):
        return [job["id"] for job in said("jobs", *filters)[0]["jobs"]]

    assert ids() == [last, failed, first]
    assert ids("--status", "failed") == [failed]
    assert ids("--queue", "slow") == [last]
    assert ids("--tag", "reports") == [failed]
    assert ids("--text", "row 17") == [failed]
    assert ids("--since", "1h") == [last, failed, first]
    assert ids("--until", "1h") == []


def test_pages_of_jobs_follow_each_other(said, put):
    ids = [put() for _ in range(3)]

    (page,) = said("jobs", "--limit", 2)
    (rest,) = said("jobs", "--limit", 2, "--cursor", page["next"])

    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == ids[::-1]


def test_show_gives_the_job_with_its_history(said, put):
    job_id = put("completed")

    (job,) = said("show", job_id)

    assert (job["id"], job["status"], job["result"]) == (job_id, "completed", {"rows": 2})
    assert [event["type"] for event in job["events"]] == ["submitted", "started", "completed"]


def test_following_ends_with_the_job_and_its_exit_code(said, put):
    *events, job = said("show", put("failed"), "--follow", code=8)

    assert [event["type"] for event in events] == ["submitted", "started", "failed"]
    assert job["status"] == "failed"


def test_cancel_stops_what_has_not_started_and_asks_what_runs(said, put):
    running, pending = put("processing"), put()

    assert said("cancel", pending)[0]["status"] == "cancelled"
    assert said("cancel", running)[0]["cancel_requested_at"]


def test_what_has_ended_can_not_be_cancelled(said, put):
    (error,) = said("cancel", put("completed"), code=5)

    assert "completed" in error["detail"]


def test_retry_runs_a_failed_job_again_and_no_other(said, put):
    assert said("retry", put("failed"))[0]["status"] == "pending"
    said("retry", put(), code=5)


def test_a_job_can_run_again_with_other_arguments(said, put):
    job_id = put("failed")

    said("retry", job_id, "--args", '{"month": "2026-10"}', "--args", "user_id=1")

    assert said("show", job_id)[0]["args"] == {"month": "2026-10", "user_id": 1}


def test_why_a_dead_letter_was_discarded_stays_in_its_history(said, put):
    job_id = put("failed")

    said("dead", "discard", job_id, "--reason", "the customer has left")

    assert said("show", job_id)[0]["events"][-1]["data"]["reason"] == "the customer has left"


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_an_unknown_job_is_not_found(said, command):
    for job_id in ("nope", "../../etc/passwd", "01a20b8a-3991-7a97-8c84-105678bb09ea"):
        (error,) = said(command, job_id, code=4)

        assert job_id in error["detail"]


def test_dead_letters_are_grouped_by_error(said, put):
    older, newer = put("failed"), put("failed")
    put("completed")

    (dead,) = said("dead")

    assert [job["id"] for job in dead["dead_letters"]] == [newer, older]
    (group,) = dead["groups"]
    assert (group["count"], group["error"]["message"], group["task"]) == (2, "row 17", "report")
    assert group["newest_id"] == newer


@pytest.mark.parametrize(("verb", "done"), [("redrive", "redriven"), ("discard", "discarded")])
def test_dead_letters_leave_the_list_one_by_one_or_all(said, put, verb, done):
    first = put("failed")
    for _ in range(3):
        put("failed")

    assert said("dead", verb, first) == [{done: 1}]
    assert len(said("dead")[0]["dead_letters"]) == 3
    assert said("dead", verb, "--all") == [{done: 3}]
    assert said("dead")[0]["dead_letters"] == []
    assert said("dead", verb, "--all") == [{done: 0}]


def test_what_is_no_dead_letter_is_told(run, target, put):
    dead, pending = put("failed"), put()

    result = run("dead", "redrive", dead, pending, *target)

    assert result.exit_code == 5
    assert result.stdout == "1 redriven\n"
    assert "1 of 2" in result.stderr


@pytest.mark.parametrize("arguments", [["--all", "x"], []])
def test_redrive_wants_ids_or_all_and_never_guesses(run, url, put, arguments):
    put("failed")

    result = run("dead", "redrive", *arguments, "--ledger", url)

    assert result.exit_code == 2
    assert "IDs or --all" in result.stderr


def test_options_before_a_subcommand_of_dead_hold_for_it(run, url, put):
    put("failed")

    result = run("dead", "--ledger", url, "redrive", "--all")

    assert result.output == "1 redriven\n"


def test_a_queue_is_paused_drained_and_resumed(said, put):
    put(queue="slow")

    states = [
        [(queue["paused"], queue["draining"]) for queue in said("queues", *act, "slow")]
        for act in (["pause"], ["drain"], ["resume"])
    ]

    assert states == [[(True, False)], [(True, True)], [(False, False)]]


def test_a_queue_that_nobody_knows_is_refused_with_those_that_are_there(run, target, url, put):
    put(queue="slow")

    unknown = run("queues", "pause", "slwo", *target)
    left = using(url, lambda ledger: ledger.docs("queue"))
    known = run("queues", "pause", "slow", *target)
    new = run("queues", "pause", "slwo", "--new", *target)

    assert (unknown.exit_code, known.exit_code, new.exit_code) == (4, 0, 0)
    assert "no job, worker or setting names a queue slwo; known:" in unknown.stderr
    assert "slow" in unknown.stderr.partition("known:")[2]
    assert "--new" in unknown.stderr
    assert left == []


def test_a_queue_whose_jobs_have_all_ended_is_known(run, url, put):
    put("completed", queue="nightly")

    assert run("queues", "pause", "nightly", "--ledger", url).exit_code == 0


def test_a_queue_that_only_a_worker_knows_is_known(run, url):
    async def work(ledger):
        await ledger.put("worker", "w", '{"queues": ["nightly"]}', ttl_us=LEASE_US)

    using(url, work)

    result = run("queues", "pause", "nightly", "--ledger", url)

    assert (result.output, result.stderr) == ("nightly: paused\n", "")


def test_all_that_is_said_of_a_queue_is_shown(said, put):
    put(queue="slow")
    words = ("instance_type=c5.xlarge", "isolation=process", "memory=1GB", "cpu_time=90s")

    (changed,) = said("queues", "set", "slow", *words)

    assert (changed["instance_type"], changed["isolation"]) == ("c5.xlarge", "process")
    (listed,) = [q for q in said("queues")[0]["queues"] if q["name"] == "slow"]
    assert (listed["memory"], listed["cpu_time"], listed["instance_type"]) == (
        1 << 30, 90, "c5.xlarge",
    )  # fmt: skip


def test_a_queue_s_settings_are_changed_and_taken_away_at_run_time(said, put):
    put(queue="slow")
    (changed,) = said("queues", "set", "slow", "max_depth=5", "max_duration=6h", "rate_limit=10/s")
    (again,) = said("queues", "set", "slow", "max_depth=none")

    (listed,) = [q for q in said("queues")[0]["queues"] if q["name"] == "slow"]

    assert (changed["max_depth"], changed["max_duration"]) == (5, 21_600)
    assert (again["max_depth"], again["rate_limit"]) == (None, "10/s")
    assert listed["depth"]["pending"] == 1
    assert listed["max_duration"] == 21_600


def test_wrong_settings_of_a_queue_are_all_told_and_none_is_kept(said, target):
    (told,) = said(
        "queues", "set", "new", "--new", "max_depth=-1", "colour=green", "rate_limit=5/s", code=2
    )

    assert {error["path"] for error in told["errors"]} == {"max_depth", "colour"}
    assert not [q for q in said("queues")[0]["queues"] if q["rate_limit"]]


def test_limits_are_set_listed_and_taken_away(said, target):
    (put,) = said("limits", "set", "key:stripe", "rate=25/s", "burst=5", "concurrency=2")
    said("limits", "set", "tenant:acme", "weight=3")
    (listed,) = said("limits")
    said("limits", "remove", "key:stripe")
    (left,) = said("limits")

    assert (put["rate"], put["burst"], put["concurrency"]) == ("25/s", 5, 2)
    assert [limit["subject"] for limit in listed["limits"]] == ["key:stripe", "tenant:acme"]
    assert [limit["weight"] for limit in left["limits"]] == [3]


def test_a_limit_that_can_not_be_is_told_by_name(said, target):
    (wrong,) = said("limits", "set", "key:a", "rate=often", "concurrency=no", code=2)
    (nobody,) = said("limits", "set", "user:a", "concurrency=1", code=2)

    assert {error["path"] for error in wrong["errors"]} == {"rate", "concurrency"}
    assert nobody["errors"][0]["path"] == "subject"
