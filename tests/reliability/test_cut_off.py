"""A fleet that is cut off from PostgreSQL stands still before others may take its jobs."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import faulty
import pytest

from outlast.core.limits import MILLISECOND, SECOND
from outlast.sdk.settings import Settings
from tests.postgres import PLAIN
from tests.reliability.network import network
from tests.reliability.rig import SETTLES_S, assert_kept
from tests.reliability.test_processes import quick, stops
from tests.worker.rig import fleets
from tests.worker.test_death import gone

LEASE = 4 * SECOND


def stands_still(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@asynccontextmanager
async def cut_off(url, folder, planted=""):
    """A fleet whose job stands at the gate, and that hears nothing of its ledger from now on."""
    env = quick(folder, lease=LEASE, beat=500 * MILLISECOND, planted=planted)
    faulty.app.configure(Settings(ledger=url, blobs=str(folder / "blobs")))
    async with faulty.app, network(url) as between, stops() as (at, port):
        with (
            fleets(folder, Path(faulty.__file__), between.url) as first,
            fleets(folder, Path(faulty.__file__), url) as second,
        ):
            await asyncio.to_thread(first, processes=1, env=env)
            handle = await faulty.once.submit(str(folder), port)
            worker = await at.reached(1, "before")
            between.answers.clear()
            between.requests.clear()

            async def other():
                await asyncio.to_thread(second, processes=1, env=env)

            yield between, at, handle, worker, other


async def lease_of(worker_of):
    (event,) = await faulty.app.ledger.history(worker_of.id, type="started")
    (row,) = await faulty.app.ledger.get([event.job_id])
    (doc,) = await faulty.app.ledger.docs("worker", row.holder)
    return doc.lease_until


async def until_still(worker):
    async with asyncio.timeout(SETTLES_S):
        while not stands_still(worker):
            await faulty.app.ledger.bell.wait(0.02)


@pytest.mark.fault("F47")
async def test_a_fleet_that_is_cut_off_stands_still_before_its_lease_is_over_and_goes_on(
    database, tmp_path
):
    async with cut_off(database + PLAIN, tmp_path) as (between, at, handle, worker, _):
        await until_still(worker)
        now = await faulty.app.ledger.now()
        assert now < await lease_of(handle)

        between.requests.set()
        between.answers.set()
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 1"
        assert not stands_still(worker)
        told = await assert_kept(faulty.app.ledger, tmp_path, [handle])
    types = [event.type for event in told.histories[handle.id]]
    assert types == ["submitted", "started", "completed"]


async def still_when_another_starts(url, folder, planted=""):
    """Let another fleet take the job over; return whether the first one stood still then."""
    async with cut_off(url, folder, planted) as (between, at, handle, worker, other):
        await other()
        await at.reached(2, "before")
        was_still = stands_still(worker)
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
        between.requests.set()
        between.answers.set()
        if was_still:
            async with asyncio.timeout(SETTLES_S):
                while not gone(worker):
                    await faulty.app.ledger.bell.wait(0.05)
        return was_still


@pytest.mark.fault("F47")
async def test_a_worker_that_is_cut_off_does_nothing_while_its_job_runs_elsewhere(
    database, tmp_path
):
    assert await still_when_another_starts(database + PLAIN, tmp_path)


async def test_a_worker_that_goes_on_beside_the_next_one_is_caught(database, tmp_path):
    planted = "import outlast.upkeep.deathwatch as d; d.signal_marked = lambda *_: None"

    assert not await still_when_another_starts(database + PLAIN, tmp_path, planted)
