"""`outlast migrate --from … --to …` as an operator runs it, while real workers work."""

import asyncio
import json
import signal

import pytest

from outlast.core.errors import MovedError
from outlast.core.job import Filter, NewJob
from outlast.core.status import Status
from outlast.system import new_id
from tests.cli.rig import spawn, started, using

APP = """\
import asyncio
from pathlib import Path

from outlast import Outlast

app = Outlast()
seen = Path(__file__).with_name("seen")


@app.task
async def mark(n: int) -> None:
    await asyncio.sleep(0.02)
    with seen.open("a") as file:
        file.write(f"{n} ")
"""
ENOUGH = 60


@pytest.fixture
def marks(tmp_path):
    path = tmp_path / "marks.py"
    path.write_text(APP, "utf-8")
    return path


async def submitted(ledger, start):
    """Submit until the ledger has moved, which `start` begins; return what was let in."""
    numbers, move = [], None
    while move is None or move.poll() is None:
        told = json.dumps({"n": len(numbers)})
        try:
            await ledger.insert([NewJob(id=new_id(), task="mark", args=told)])
        except MovedError:
            await ledger.bell.wait(0.01)
            continue
        numbers.append(len(numbers))
        if len(numbers) == ENOUGH:
            move = start()
    return numbers, move


async def ended(ledger, number):
    while (await ledger.count(Filter(status=Status.COMPLETED), ""))[()] < number:
        await ledger.bell.wait(1)


def test_no_job_is_lost_or_run_twice_by_a_move_while_workers_work(tmp_path, marks, database):
    here, there = f"sqlite:///{tmp_path}/here.db", database
    using(here, lambda ledger: ledger.migrate())
    with started("worker", marks, "--ledger", here, "--processes", "1"):
        command = ("migrate", "--from", here, "--to", there, "--json")
        numbers, move = using(here, lambda ledger: submitted(ledger, lambda: spawn(*command)))
        out, told = move.communicate(timeout=60)
        assert move.returncode == 0, told

    with started("worker", marks, "--ledger", there, "--processes", "1"):
        using(there, lambda ledger: asyncio.wait_for(ended(ledger, len(numbers)), 60))

    seen = sorted(map(int, marks.with_name("seen").read_text().split()))
    assert seen == numbers
    assert json.loads(out)["jobs"] == len(numbers) > ENOUGH


def test_what_ran_at_the_old_place_says_where_to_go_and_ends(tmp_path, marks):
    here, there = f"sqlite:///{tmp_path}/here.db", f"sqlite:///{tmp_path}/there.db"
    using(here, lambda ledger: ledger.migrate())
    worker = spawn("worker", marks, "--ledger", here, "--processes", "1", "--json")
    worker.stdout.readline()

    moved = spawn("migrate", "--from", here, "--to", there)
    facts, steps = moved.communicate(timeout=60)

    _, told = worker.communicate(timeout=60)
    assert moved.returncode == 0, steps
    assert [line.split(":")[0] for line in steps.splitlines()][-1] == "moved"
    assert "stopped_s" in facts
    assert worker.returncode == 7
    assert f"has moved to {there}; give --ledger {there}" in told


def test_ctrl_c_leaves_a_move_that_goes_on_or_is_taken_back(tmp_path, run, url, put):
    put("completed")
    held = put("processing")
    there = f"sqlite:///{tmp_path}/there.db"
    moving = spawn("migrate", "--from", url, "--to", there)
    while "draining" not in moving.stderr.readline():
        pass

    moving.send_signal(signal.SIGINT)
    moving.communicate(timeout=20)
    back = run("migrate", "--from", url, "--abort")

    assert moving.returncode == 130
    assert "is in use again; the move had come to: draining" in back.stdout
    assert using(url, lambda ledger: ledger.get([held]))[0].status is Status.PROCESSING
    assert "is not being moved" in run("migrate", "--from", url, "--abort").stdout


def test_a_dry_run_counts_and_changes_nothing(tmp_path, run, url, put):
    put("completed")
    there = f"sqlite:///{tmp_path}/there.db"

    told = run("migrate", "--from", url, "--to", there, "--dry-run", "--json")

    plan = json.loads(told.stdout)
    assert (plan["dry_run"], plan["jobs"], plan["events"]) == (True, 1, 3)
    assert not (tmp_path / "there.db").exists()
    assert not list(tmp_path.glob("*-moving"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "{there}"], "--from: expected the ledger to move, got none"),
        (["--from", "{url}"], "--to: expected the new place of the ledger, got none"),
        (["--from", "{url}", "--to", "{url}"], "--from and --to are the same place"),
        (["--from", "{url}", "--to", "memory://"], "--to: expected sqlite:///path or postgres"),
        (["--from", "memory://", "--to", "{there}"], "--from: expected sqlite:///path or postgres"),
        (["--from", "{there}", "--to", "{url}"], "there is no ledger"),
        (["--from", "{url}", "--to", "{url}x/y.db"], "its folder does not exist"),
        (["--from", "{url}", "--ledger", "{url}"], "--ledger: can't be given together with"),
        (["--from", "{url}", "--to", "{there}", "--abort"], "--abort: takes --from and nothing"),
        (["--from", "{url}", "--to", "{there}", "--drain", "soon"], "--drain"),
    ],
)
def test_what_can_not_be_is_told_in_a_sentence(arguments, told, tmp_path, run, url):
    there = f"sqlite:///{tmp_path}/there.db"
    result = run("migrate", *(word.format(url=url, there=there) for word in arguments))

    assert result.exit_code != 0
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "there.db").exists()
