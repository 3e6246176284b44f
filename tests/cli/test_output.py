"""What people and programs read: tables, lines, JSON, one sentence for an error."""

import json
import subprocess
import sys

import click
import pytest

from outlast.cli.commands import COMMANDS, cli
from outlast.cli.follow import progress_of
from outlast.cli.output import clean, shortened

PREFIX = "from outlast.cli.commands import cli; import sys; "


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_helps_with_what_the_overview_promises(run, name):
    result = run(name, "--help")

    assert result.exit_code == 0
    assert f"outlast {name}" in result.stdout  # an example
    assert "\\b" not in result.stdout
    assert COMMANDS[name][1].split()[0].strip(",") in result.stdout


@pytest.mark.parametrize("name", ["keys", "dead", "schedules"])
def test_each_subcommand_helps_with_an_example(run, name):
    group = cli.get_command(click.Context(cli), name)

    for child in group.commands:
        assert f"outlast {name} {child}" in run(name, child, "--help").stdout


def test_the_overview_names_every_command_and_the_exit_codes(run):
    result = run("--help")

    assert all(f"  {name} " in result.stdout for name in COMMANDS)
    assert "Exit codes" in result.stdout
    assert run().stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], ["outlast.sdk", "outlast.ledger", "rich", "httpx", "starlette", "asyncio"]),
        (["jobs"], ["rich", "httpx", "starlette", "uvicorn"]),
        (["worker", "--help"], ["httpx", "starlette", "uvicorn", "outlast.api"]),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments, absent):
    code = PREFIX + f"cli.main({arguments!r}, standalone_mode=False); print(sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]

    assert [name for name in absent if f"'{name}'" in loaded] == []


def test_without_the_extra_one_sentence_says_how_to_get_it():
    code = "import sys; sys.modules['rich'] = None; from outlast.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert result.stderr == "outlast: the commands need an extra: pip install 'outlast[cli]'\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nope"], 2, "No such command"),
        (["jobs", "--limit", "0"], 2, "--limit"),
        (["jobs", "--status", "lost"], 2, "pending"),
        (["jobs", "--since", "yesterday", "--ledger", "{url}"], 2, "--since"),
        (["jobs", "--ledger", "mysql://x"], 2, "sqlite:///"),
        (["jobs", "--ledger", "sqlite:///none.db"], 7, "there is no ledger none.db"),
        (["jobs", "--url", "ftp://x"], 2, "--url"),
        (["jobs", "--url", "http://127.0.0.1:1"], 7, "can't reach"),
        (["jobs", "--url", "http://x", "--ledger", "{url}"], 2, "both"),
        (["show"], 2, "ID"),
        (["submit", "none.py", "add"], 2, "there is no such file"),
        (["submit", "none.py", "add", "--args", "["], 2, "--args"),
        (["submit", "none.py", "add", "--args", "{"], 2, "--args"),
        (["dev", "none.py", "--port", "70000"], 2, "--port"),
        (["keys", "create", "--scopes", "all", "--ledger", "{url}"], 2, "--scopes"),
        (["keys", "revoke", "ol_nope", "--ledger", "{url}"], 4, "there is no key"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_or_one_json_object(run, url, arguments, code, words):
    arguments = [
        argument.format(url=url) if "{url}" in argument else argument for argument in arguments
    ]

    plain, as_json = run(*arguments), run(*arguments, "--json")

    assert (plain.exit_code, plain.stdout) == (code, "")
    assert plain.stderr.startswith("outlast: ")
    assert plain.stderr.count("\n") == 1
    assert words in plain.stderr
    if arguments[0] != "nope":
        assert (as_json.exit_code, as_json.stdout) == (code, "")
        assert {"error", "detail"} <= json.loads(as_json.stderr).keys()


def test_looking_makes_no_ledger(run, tmp_path):
    for command in (["jobs"], ["doctor"], ["keys", "list"]):
        run(*command)

    assert list(tmp_path.iterdir()) == []


def test_tables_are_plain_columns_in_a_pipe(run, url, put):
    job_id = put("failed")

    head, row = run("jobs", "--ledger", url).stdout.splitlines()

    assert head.split() == [
        "id",
        "task",
        "queue",
        "status",
        "attempt",
        "progress",
        "submitted",
        "error",
    ]
    assert row.split()[:4] == [job_id, "report", "default", "failed"]
    assert run("jobs", "--queue", "none", "--ledger", url).stdout == "no such jobs\n"


def test_details_are_names_and_values(run, url, put):
    text = run("show", put("failed"), "--ledger", url).stdout

    assert "status     failed\n" in text
    assert "ValueError: row 17" in text
    assert "submitted" in text.splitlines()[-3]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("a\x1b[31mb", "a\ufffd[31mb"),
        ("a\nb\tc", "a b c"),
        ("\ud800", "\ufffd"),
        (["x", "y"], "x, y"),
        ("größer", "größer"),
    ],
)
def test_what_a_job_said_can_not_steer_the_terminal(value, shown):
    assert clean(value) == shown


def test_long_text_is_cut():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_a_closed_pipe_is_no_traceback(url, put):
    put()
    command = [sys.executable, "-m", "outlast", "jobs", "--ledger", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_the_root_runs_alone_and_with_the_process():
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0


def test_progress_says_the_pace_and_the_time_left_as_far_as_they_are_known():
    begun = {"done": 4, "total": 12, "percent": 33.3, "message": "rows", "rate": None, "eta": None}

    assert progress_of(begun) == "4/12 33.3 % rows"
    assert (
        progress_of({**begun, "rate": 0.5, "eta": 61.2}) == "4/12 33.3 % rows, 0.5/s, 0:01:02 left"
    )
    assert progress_of({"done": 4, "rate": 2.0}) == "4, 2/s"
