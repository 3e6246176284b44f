"""The seeded simulator runs the real engine: thousands of worlds, and not one broken promise."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from outlast.ledger.memory import MemoryLedger
from outlast.testing.sim import __main__ as command
from outlast.testing.sim import many
from outlast.testing.sim.tickets import FAULTS
from outlast.testing.sim.world import SWITCHES, Plan, shrink, simulate

SEEDS = 2_000
SHARE = 500
PROCESSES = 2
REGRESSIONS = Path(__file__).with_name("regressions.txt")
# What a run of the simulator must have met, or it proves less than it says.
MET = {
    "answered cancelled", "answered cancelling", "answered too-late",
    "cancelled", "cancelling", "completed", "due", "failed", "heartbeat-lost", "log", "progress",
    "recovered", "redriven", "released", "rescue", "retrying", "started", "step", "submitted",
    "clock steps", "drains", "false hints", "kills", "machine crashes", "partitions", "pauses",
    "tickets", *FAULTS,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_two_thousand_worlds_keep_every_promise(first):
    failures, met = [], Counter()

    for failed, _, happened in many.judge_many(first, SHARE, PROCESSES):
        failures += failed
        met += happened

    assert not failures, "\n".join(many.report(outcome) for outcome in failures[:3])
    assert met.keys() >= MET, f"never met: {MET - met.keys()}"


def regressions():
    lines = REGRESSIONS.read_text("utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", regressions())
def test_a_seed_that_once_failed_holds(seed):
    for plan in (Plan.of(seed), Plan.of(seed).without_broker()):
        outcome = simulate(plan)

        assert not outcome.faults, many.report(outcome)


def test_a_seed_is_the_same_run_in_another_process_whatever_the_hash_seed():
    seeds = [3, 7, 11, 19, 58]
    script = (
        "from outlast.testing.sim.world import Plan, simulate\n"
        f"for seed in {seeds}: print(simulate(Plan.of(seed)).digest)"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    here = "".join(f"{simulate(Plan.of(seed)).digest}\n" for seed in seeds)
    assert said == {here}
    assert len(set(here.split())) == len(seeds)


def test_every_fault_is_drawn_by_some_seed_and_left_out_by_another():
    plans = [Plan.of(seed) for seed in range(200)]

    for name in SWITCHES:
        assert len({name in plan.switches for plan in plans}) == 2


class Careless(MemoryLedger):
    """A ledger without keys, for a seed to fail on."""

    def _remembered(self, tenant, key, now):
        return None


def a_failure():
    outcomes = (simulate(Plan.of(seed), Careless) for seed in range(100))
    return next(outcome for outcome in outcomes if outcome.faults)


def test_a_failing_seed_is_shrunk_to_the_faults_that_it_needs():
    small = shrink(a_failure(), Careless)

    assert small.faults
    assert len(small.plan.jobs) == 1
    assert small.plan.switches in ({"repeats"}, {"lost replies"}, {"partitions"})


def test_a_failure_says_what_to_run_to_see_it_again(monkeypatch, capsys):
    failed = a_failure()
    monkeypatch.setattr(command, "simulate", lambda plan: simulate(plan, Careless))
    monkeypatch.setattr(many, "shrink", lambda outcome: shrink(outcome, Careless))

    assert command.main([str(failed.plan.seed)]) == 1

    said = capsys.readouterr().out
    assert f"FAILED seed {failed.plan.seed}" in said
    assert "shrunk: " in said
    assert f"again: python -m outlast.testing.sim {failed.plan.seed}" in said


def test_the_command_gives_a_verdict_on_many_seeds():
    asked = [sys.executable, "-m", "outlast.testing.sim", "--seeds", "6", "--from", "100"]

    heard = subprocess.run(asked, capture_output=True, text=True, check=True)

    assert "all 6 seeds hold, from 100" in heard.stdout
    assert "6/6 seeds" in heard.stderr
