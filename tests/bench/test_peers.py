"""The comparison with other queues says what was measured, and no more."""

import json
import re
import struct
import subprocess
import sys

import pytest

from bench.peers import __main__ as runner
from bench.peers import measure, roster, table, witness
from bench.peers.measure import Row, Sizes
from bench.peers.process import PeerError, workers
from bench.peers.roster import Entry

TINY = Sizes(0.01)


def row(**figures):
    about = {"has_bulk": True, "versions": {"q": "1"}, "settings": "x", "source": "y", "runs": "z"}
    floor = {"one": 1_000.0, "bulk": 10_000.0, "drain": 10_000.0}
    return Row("q-redis", "redis", about=about, floor=floor, **figures)


@pytest.mark.parametrize("entry", roster.ROSTER, ids=lambda entry: entry.name)
def test_each_queue_is_pinned_and_driven_by_one_short_file(entry):
    adapter = roster.HERE / "adapters" / f"{entry.adapter}.py"

    assert len(adapter.read_text("utf-8").splitlines()) <= 80
    if entry.requirements is not None:
        pins = entry.requirements.read_text("utf-8").splitlines()
        assert pins
        assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def test_every_adapter_and_every_pin_is_somebodys():
    adapters = {path.stem for path in (roster.HERE / "adapters").glob("*.py")} - {"__init__"}
    pinned = {path.stem for path in (roster.HERE / "requirements").glob("*.txt")}

    assert adapters == {entry.adapter for entry in roster.ROSTER}
    assert pinned == adapters - {roster.OURS} | {"floors"}


def test_peers_are_chosen_by_adapter_store_or_row():
    assert {e.store for e in roster.chosen(["redis"])} == {"redis"}
    assert [e.name for e in roster.chosen(["huey-sqlite"])] == ["huey-sqlite"]
    assert roster.chosen([]) == list(roster.ROSTER)
    with pytest.raises(ValueError, match=r"no such peer: nobody \(known: arq"):
        roster.chosen(["nobody"])


def test_what_was_not_measured_is_a_dash_and_never_a_number():
    shown = table.line(row())

    assert not re.search(r"\d", shown)
    assert shown.count("–") == 11


def test_a_job_that_did_not_run_again_is_said_to_have_been_waited_for():
    shown = table.line(row(kill_job_s=0.5, is_tree=True, waited_s=120.0))

    assert "0.50 s" in shown
    assert "> 120 s" in shown


def test_where_the_worker_is_one_process_its_death_is_told_once():
    shown = table.line(row(kill_worker_s=2.0, waited_s=120.0))

    assert re.search(r" =\s+2\.00 s", shown)


def test_figures_stand_beside_the_floor_of_their_store():
    shown = table.render([row(submit=500.0, bulk=2_000.0)], {"redis": "a log"})

    assert re.search(r"500\s+0\.50\s+2,000\s+0\.20", shown)
    assert "raw redis (mean): one 1,000/s" in shown
    assert "a log" in shown


async def test_a_queue_that_cannot_be_measured_is_shown_as_failed(tmp_path):
    (found,) = await runner.run([Entry("nobody", "sqlite")], TINY, tmp_path)

    assert "nobody.txt" in found.failed
    assert "FAILED: environment" in table.line(found)
    assert found.submit is found.drain_1 is None


def test_a_failure_is_the_runs_exit_code_and_is_kept(tmp_path, monkeypatch):
    kept = tmp_path / "results.jsonl"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(roster, "ROSTER", (Entry("nobody", "sqlite"),))
    monkeypatch.setattr(sys, "argv", ["bench.peers", "--results", str(kept)])

    with pytest.raises(SystemExit, match="1 of 1 failed: nobody-sqlite"):
        runner.main()

    (peer,) = json.loads(kept.read_text("utf-8"))["peers"]
    assert peer["submit"] is None
    assert "nobody.txt" in peer["failed"]


async def test_a_drain_that_stands_still_is_no_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "STALL_S", 0.05)
    monkeypatch.setattr(measure, "WARM_S", 0.05)
    (tmp_path / "done").write_bytes(b"." * 40)

    with (
        workers([["tail", "-f", "/dev/null"]], "", tmp_path) as fleet,
        pytest.raises(PeerError, match="stood still after 40 of 100 jobs"),
    ):
        await measure._drain(tmp_path, 100, fleet, 30)


async def test_a_worker_that_ends_is_told_with_its_own_words(tmp_path):
    with workers([["sh", "-c", "echo no broker; exit 3"]], "", tmp_path) as fleet:
        fleet[0]._process.wait(10)

        with pytest.raises(PeerError, match="exit code 3: no broker"):
            await measure._drain(tmp_path, 10, fleet, 1)


def test_a_start_that_is_half_written_is_not_read(tmp_path):
    whole = struct.pack("<qqq", 7, 8, 9)
    (tmp_path / "started").write_bytes(whole + whole[:11])

    assert witness.read_started(tmp_path) == [(7, 8, 9)]


@pytest.mark.slow
def test_the_harness_measures_a_real_queue_and_its_recovery(tmp_path):
    kept = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "bench.peers", "outlast-sqlite", "--scale", "0.001"]

    done = subprocess.run(
        [*command, "--results", str(kept)], capture_output=True, text=True, timeout=180, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (peer,) = json.loads(kept.read_text("utf-8"))["peers"]
    figures = ("submit", "bulk", "drain_1", "drain_2", "idle_mb", "kill_job_s", "kill_worker_s")
    assert [name for name in figures if not peer[name]] == []
    assert len(peer["pickup_ms"]) == 3
    assert peer["kill_worker_s"] < peer["waited_s"]
    assert "outlast-sqlite" in done.stdout
