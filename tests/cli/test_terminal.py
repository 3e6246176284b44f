"""On a real terminal: what is drawn, and what Ctrl-C leaves behind."""

import re
import subprocess
import sys

import pytest

from tests.cli.rig import Terminal

CTRL_C = b"\x03"
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_a_bar_is_drawn_while_the_result_alone_goes_into_a_pipe(dev, app):
    with Terminal("submit", app, "count", "n=3", "--wait", "--ledger", dev["ledger"]) as terminal:
        assert terminal.end() == 0

    assert "━" in terminal.shown
    assert "counting" in terminal.shown
    assert terminal.shown.rstrip().endswith('"done"')
    assert terminal.is_as_before


@pytest.fixture
def interrupted():
    """Run a command until it shows a sign, press Ctrl-C, and give what was on the terminal."""

    def run(sign, *arguments):
        with Terminal(*arguments) as terminal:
            terminal.until(sign)
            terminal.press(CTRL_C)
            assert terminal.end() == 130
        assert terminal.is_as_before
        assert "Traceback" not in terminal.shown
        return terminal.shown

    return run


@pytest.mark.parametrize("place", ["app", "server"])
def test_ctrl_c_ends_the_wait_and_not_the_job(interrupted, run, dev, app, place):
    where = (app, "--ledger", dev["ledger"]) if place == "app" else (dev["url"],)

    shown = interrupted(
        "pending", "submit", *where, "add", "a=1", "b=2", "--queue", "idle", "--wait"
    )

    job_id = re.search(r"job (\S+) goes on: outlast show", shown)[1]
    assert '"pending"' in run("show", job_id, "--json", "--ledger", dev["ledger"]).stdout
    run("cancel", job_id, "--ledger", dev["ledger"])  # lets go of the question that the server held


def test_ctrl_c_ends_following(interrupted, run, target, put):
    job_id = put()

    shown = interrupted("report pending", "show", job_id, "--follow", *target)

    assert "goes on: outlast show" in shown
    run("cancel", job_id, *target)


def test_ctrl_c_ends_watching(interrupted, target, put):
    put()

    interrupted("pending", "jobs", "--watch", *target)


def test_ctrl_c_stops_a_server_with_its_workers(app, url):
    with Terminal("dev", app, "--ledger", url, "--port", "0", "--processes", "1") as terminal:
        terminal.until("ready: http://127.0.0.1:")
        terminal.press(CTRL_C)

        assert terminal.end() == 0
    assert terminal.is_as_before
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize("columns", [40, 100, 200])
def test_a_table_is_cut_at_the_edge_of_the_terminal(url, put, columns):
    put("failed")

    with Terminal("jobs", "--ledger", url, columns=columns) as terminal:
        assert terminal.end() == 0

    lines = CODES.sub("", terminal.shown).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= columns
    assert "\x1b[" in terminal.shown  # colours
    assert ("ValueError: row 17" in lines[1]) is (columns == 200)


def test_a_watched_table_follows_the_jobs(run, url, put):
    first = put()

    with Terminal("jobs", "--watch", "--ledger", url, columns=200) as terminal:
        terminal.until(first)
        assert "cancelled" not in terminal.shown
        run("cancel", first, "--ledger", url)
        terminal.until("cancelled")
        terminal.press(CTRL_C)
        terminal.end()


def test_in_a_pipe_each_change_is_a_line(url, put, run):
    first = put()
    command = [sys.executable, "-m", "outlast", "jobs", "--watch", "--ledger", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().split()[:4] == [first, "report", "default", "pending"]
        run("cancel", first, "--ledger", url)
        assert process.stdout.readline().split()[:4] == [first, "report", "default", "cancelled"]
        second = put()
        assert process.stdout.readline().split()[0] == second
        process.terminate()


def test_what_a_job_says_can_not_steer_the_terminal(url, put):
    evil = "\x1b]0;evil\x07[red]x[/red]"
    job_id = put("pending", task=evil)

    with Terminal("show", job_id, "--follow", "--ledger", url) as terminal:
        terminal.until("[red]x[/red]")
        terminal.press(CTRL_C)
        terminal.end()

    assert "\x1b]0" not in terminal.shown
    assert "\x07" not in terminal.shown
