"""Submitting, and the commands that run processes."""

import json
import signal
import socket

import pytest

from tests.cli.rig import spawn


@pytest.fixture(params=["app", "server"])
def place(request, dev, app):
    """Where a job is submitted to: the ledger by way of the app, or the server."""
    return (app, "--ledger", dev["ledger"]) if request.param == "app" else (dev["url"],)


def test_a_job_is_submitted_awaited_and_its_result_alone_is_printed(run, place):
    where, *options = place

    result = run("submit", where, "add", "a=1", "--args", '{"b": 2}', "--wait", *options)

    assert (result.exit_code, result.stdout) == (0, "3\n")
    assert "completed" in result.stderr


def test_progress_is_plain_lines_in_a_pipe(run, place):
    where, *options = place

    result = run("submit", where, "count", "n=3", "--wait", *options)

    assert result.stdout == '"done"\n'
    lines = result.stderr.splitlines()
    assert any("progress" in line and "3/3 100 % counting" in line for line in lines)
    assert any("log" in line and "counted" in line for line in lines)


def test_a_failed_job_is_told_without_its_escape_codes(run, place):
    where, *options = place

    plain = run("submit", where, "boom", "row=1", "--wait", *options)
    as_json = run("submit", where, "boom", "row=1", "--wait", "--json", *options)

    assert (plain.exit_code, plain.stdout) == (8, "")
    assert "ValueError: row 1 is \ufffd[31mbad" in plain.stderr
    assert json.loads(as_json.stderr)["error"] == "job-failed"
    assert json.loads(as_json.stderr)["reason"]["type"] == "ValueError"


def test_waiting_has_an_end_and_the_job_goes_on(run, place, dev):
    where, *options = place
    ledger = ("--ledger", dev["ledger"])

    result = run("submit", where, "endless", "--wait", "--within", "0.3s", *options)

    assert result.exit_code == 9
    job_id = result.stderr.split()[-2]
    assert run("cancel", job_id, *ledger).exit_code == 0
    assert run("show", job_id, "--follow", *ledger).exit_code == 8


def test_wrong_arguments_are_told_by_name_and_nothing_is_stored(run, place, dev):
    where, *options = place
    before = run("jobs", "--ledger", dev["ledger"]).stdout

    result = run("submit", where, "add", "a=x", "b=1", *options)

    assert result.exit_code == 2
    assert "args.a" in result.stderr
    assert run("jobs", "--ledger", dev["ledger"]).stdout == before


def test_the_same_key_gives_the_same_job(run, place):
    where, *options = place
    key = ("--idempotency-key", where)

    first, again = (run("submit", where, "add", "a=1", "b=2", *key, *options) for _ in range(2))
    other = run("submit", where, "add", "a=2", "b=2", *key, *options)

    assert first.stdout == again.stdout
    assert other.exit_code == 5


def test_with_json_a_submit_says_the_id_and_then_the_result(run, place):
    where, *options = place

    made = json.loads(run("submit", where, "add", "a=1", "b=2", "--json", *options).stdout)
    ended = run("submit", where, "add", "a=1", "b=2", "--json", "--wait", *options)

    assert made.keys() == {"id"}
    assert json.loads(ended.stdout)["result"] == 3
    assert ended.stderr == ""


def test_workers_alone_work_on_the_queues_they_are_given(run, start, app, url):
    ready = start("worker", "--ledger", url, "--processes", "1", "--queue", "slow")
    args = ("a=1", "b=2", "--ledger", url)

    other = run("submit", app, "add", *args, "--json")
    mine = run("submit", app, "add", *args, "--queue", "slow", "--wait")

    assert (ready["workers"], "url" in ready) == (1, False)
    assert mine.stdout == "3\n"
    assert '"pending"' in run("show", json.loads(other.stdout)["id"], "--json", *args[2:]).stdout


def test_options_reach_the_job(run, app, url):
    options = ("--queue", "slow", "--priority", "7", "--delay", "1h", "--tag", "x", "--tag", "y")

    job_id = run("submit", app, "add", "a=1", "b=2", *options, "--ledger", url).stdout.strip()

    job = json.loads(run("show", job_id, "--ledger", url, "--json").stdout)
    assert (job["queue"], job["priority"], job["status"]) == ("slow", 7, "scheduled")
    assert job["tags"] == ["x", "y"]


def test_ctrl_c_ends_a_wait_without_a_traceback(app, url):
    process = spawn("submit", app, "add", "a=1", "b=2", "--wait", "--ledger", url)
    process.stderr.readline()  # it is submitted, and it waits for a worker that never comes
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=15)

    assert process.returncode == 130
    assert "Traceback" not in rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_says_once_that_it_is_ready_and_stops_when_asked(app, url, number):
    process = spawn("dev", app, "--ledger", url, "--port", "0", "--processes", "1")
    line = process.stdout.readline()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)

    assert line.startswith("ready: http://127.0.0.1:")
    assert " · 1 worker · sqlite:///" in line
    assert (process.returncode, rest) == (0, "")
    assert errors == "no API keys: open to this machine only\n"


def test_a_taken_port_is_told_at_once(run, app, url):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("api", app, "--port", port, "--ledger", url)

    assert result.exit_code == 7
    assert f"port {port}" in result.stderr


def test_no_server_for_other_machines_without_keys(run, app, url):
    result = run("api", app, "--host", "0.0.0.0", "--port", "0", "--ledger", url)

    assert result.exit_code == 2
    assert "outlast keys create" in result.stderr
