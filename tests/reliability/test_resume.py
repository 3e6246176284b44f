"""A long loop whose workers are killed again and again ends, and repeats next to nothing."""

import os
import random
import signal
from functools import partial
from itertools import groupby
from pathlib import Path

import faulty
import pytest

from outlast.core.errors import JobFailedError
from outlast.core.limits import LOST_MAX
from outlast.core.status import Status
from outlast.testing.checker import read_marks
from tests.reliability.rig import SETTLES_S, assert_kept, gate

ITEMS, EVERY, KILLS, SEED = 2_000, 10, 20, 2026


async def walked(app, fleet, folder, *, items, kills, processes):
    """Kill whoever walks, at these items; return the handle and the kills that were made."""
    due, made = sorted(kills), []

    async def decide(pid, token, what):
        when, n = what.split()
        if due and (int(n), when == "after") >= due[0]:
            made.append(due.pop(0))
            os.kill(pid, signal.SIGKILL)

    async with gate(decide) as port:
        fleet(processes=processes)
        handle = await faulty.walk.submit(str(folder), port, items, EVERY)
        await handle.result(timeout=SETTLES_S)
    return handle, made


def random_kills(items, number):
    dice = random.Random(SEED)
    return [(n, dice.random() < 0.5) for n in dice.sample(range(items), number)]


def assert_resumed(marks, items):
    """Each attempt went on at most `EVERY` items before the place where the last one was killed."""
    reached, done = 0, []
    for _, some in groupby((m for m in marks if m.what.isdigit()), key=lambda m: m.token):
        these = [int(mark.what) for mark in some]
        assert these == list(range(these[0], these[-1] + 1))
        assert reached - EVERY <= these[0] <= reached
        reached = these[-1] + 1
        done += these
    assert sorted(set(done)) == list(range(items))


@pytest.mark.fault("F1", "F2")
async def test_a_job_of_2000_items_killed_20_times_repeats_few_and_misses_none(
    app, fleet, tmp_path
):
    effects = frozenset(map(str, range(ITEMS)))

    handle, made = await walked(
        app, fleet, tmp_path, items=ITEMS, kills=random_kills(ITEMS, KILLS), processes=4
    )

    assert len(made) == KILLS
    told = await assert_kept(app.ledger, tmp_path, [handle], {handle.id: effects})
    assert_resumed(told.marks, ITEMS)
    types = [event.type for event in told.histories[handle.id]]
    assert (types.count("heartbeat-lost"), types.count("completed")) == (KILLS, 1)
    assert told.rows[handle.id].status is Status.COMPLETED


MUTANT = """
import sys
sys.path.insert(0, {folder!r})
from outlast.worker.effects import LeasedEffects

real = LeasedEffects.save

async def save(self, cursor, *, advances):
    {planted}

LeasedEffects.save = save
from faulty import app
"""


@pytest.mark.parametrize(
    ("planted", "caught"),
    [
        ("await real(self, cursor, advances=False)", JobFailedError),  # no crash is forgiven
        ("self.pulse()", AssertionError),  # nothing is kept
    ],
)
async def test_that_law_finds_loops_that_are_not_kept_or_not_forgiven(
    app, fleet, tmp_path, planted, caught
):
    file = tmp_path / "mutant.py"
    file.write_text(MUTANT.format(folder=str(Path(faulty.__file__).parent), planted=planted))
    kills = [(n, True) for n in ((30, 60, 90) if caught is JobFailedError else (30,))]

    async def trial():
        await walked(app, partial(fleet, file=file), tmp_path, items=120, kills=kills, processes=2)
        assert_resumed(read_marks((tmp_path / "witness").read_text()), 120)

    with pytest.raises(caught):
        await trial()


async def test_a_job_that_does_not_get_on_still_ends_at_its_budget(app, fleet, tmp_path):
    async def decide(pid, token, what):
        os.kill(pid, signal.SIGKILL)

    async with gate(decide) as port:
        fleet(processes=2)
        handle = await faulty.walk.submit(str(tmp_path), port, 120, EVERY)
        with pytest.raises(JobFailedError, match="the worker was lost"):
            await handle.result(timeout=SETTLES_S)

    told = await assert_kept(app.ledger, tmp_path, [handle])
    assert told.rows[handle.id].lost == LOST_MAX
