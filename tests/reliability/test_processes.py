"""Workers that are frozen, blocked, killed with all their kin, or told to stop."""

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager

import faulty
import pytest

from outlast.core.limits import MILLISECOND
from tests.reliability.rig import SETTLES_S, assert_kept, gate
from tests.worker.rig import has_event, until
from tests.worker.test_death import gone, stop_outside_a_transaction

LEASE = 800 * MILLISECOND
# Python runs this before anything else, so that no test has to wait for half a minute.
QUICK = """
import outlast.core.limits as limits
limits.LEASE_US, limits.HEARTBEAT_US = {lease}, {beat}
{planted}
"""


def quick(folder, *, lease=LEASE, beat=LEASE // 4, planted=""):
    """Make processes whose leases are short, and which may have a bug planted in them."""
    place = folder / f"site-{len(list(folder.glob('site-*')))}"
    place.mkdir()
    text = QUICK.format(lease=lease, beat=beat, planted=planted)
    (place / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(place)}


class Stops:
    """Where jobs stand at the gate, and what lets them go on."""

    def __init__(self):
        self.here = {}  # (token, what): pid
        self.news = asyncio.Event()
        self.go = asyncio.Event()

    async def decide(self, pid, token, what):
        self.here[token, what] = pid
        self.news.set()
        await self.go.wait()

    async def reached(self, token, what):
        async with asyncio.timeout(SETTLES_S):
            while (token, what) not in self.here:
                self.news.clear()
                await self.news.wait()
        return self.here[token, what]


@asynccontextmanager
async def stops():
    at = Stops()
    async with gate(at.decide) as port:
        yield at, port


async def workers_of(app, handle):
    events = await app.ledger.history(handle.id, type="started")
    return [json.loads(event.data)["worker"] for event in events]


async def renewed(app, holder, times):
    """Wait until a worker's lease was renewed so many times."""
    seen = set()

    async def often():
        (doc,) = await app.ledger.docs("worker", holder)
        seen.add(doc.lease_until)
        return len(seen) > times

    await until(app.ledger, often)


async def blocked(app, fleet, folder, env):
    """Let a job hold its worker's event loop for longer than three leases."""
    fleet(processes=1, env=env)
    async with stops() as (at, port):
        handle = await faulty.stubborn.submit(str(folder), port)
        await at.reached(1, "blocked")
        (holder,) = await workers_of(app, handle)
        await renewed(app, holder, 3 * 4)
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 1"
    told = await assert_kept(app.ledger, folder, [handle])
    assert [event.type for event in told.histories[handle.id]] == [
        "submitted", "started", "completed",
    ]  # fmt: skip


@pytest.mark.fault("F4")
async def test_a_job_that_blocks_its_worker_is_not_taken_for_dead(app, fleet, tmp_path):
    await blocked(app, fleet, tmp_path, quick(tmp_path))


async def test_that_law_finds_a_worker_that_must_beat_its_own_heart(
    app, fleet, tmp_path, monkeypatch
):
    monkeypatch.setattr("tests.worker.rig.DEADLINE_S", 3.0)
    silent = quick(tmp_path, planted="limits.HEARTBEAT_US = 60_000_000")

    with pytest.raises((AssertionError, TimeoutError)):
        await blocked(app, fleet, tmp_path, silent)


@pytest.mark.fault("F3")
async def test_a_frozen_fleet_that_wakes_after_its_lease_completes_nothing(app, fleet, tmp_path):
    env = quick(tmp_path)
    first = fleet(processes=1, env=env)
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(tmp_path), port)
        worker = await at.reached(1, "before")
        for pid in (first.pid, worker):
            stop_outside_a_transaction(pid, tmp_path / "ledger.db")
        fleet(processes=1, env=env)
        await at.reached(2, "before")
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
        for pid in (worker, first.pid):
            os.kill(pid, signal.SIGCONT)
        # It woke, went on, and reported: whoever is refused stops, or is replaced.
        await until(app.ledger, lambda: left_by(app, handle))
    told = await assert_kept(app.ledger, tmp_path, [handle])
    assert [event.type for event in told.histories[handle.id]].count("completed") == 1


async def left_by(app, handle):
    """Whether the worker that held the job first is no more."""
    holder, _ = await workers_of(app, handle)
    docs = await app.ledger.docs("worker", holder)
    return not docs or not docs[0].lease_until


@pytest.mark.fault("F7")
async def test_a_fleet_that_is_killed_whole_leaves_its_job_to_the_next(app, fleet, tmp_path):
    first = fleet(processes=2, start_new_session=True)
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(tmp_path), port)
        worker = await at.reached(1, "before")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        fleet(processes=1)
        await at.reached(2, "before")
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
        assert gone(worker)
    await assert_kept(app.ledger, tmp_path, [handle])


@pytest.mark.fault("F11")
async def test_a_worker_told_to_stop_lets_its_job_end(app, fleet, tmp_path):
    first = fleet(processes=1)
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(tmp_path), port)
        await at.reached(1, "before")
        first.send_signal(signal.SIGTERM)
        at.go.set()
        assert await asyncio.to_thread(first.wait, SETTLES_S) == 0
    assert await handle.result(timeout=SETTLES_S) == "by 1"
    await assert_kept(app.ledger, tmp_path, [handle])


@pytest.mark.fault("F11")
async def test_a_job_that_takes_longer_than_the_grace_is_given_back_at_no_cost(
    app, fleet, tmp_path
):
    first = fleet(processes=1, env={"OUTLAST_GRACE": "0"})
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(tmp_path), port)
        await at.reached(1, "before")
        first.send_signal(signal.SIGTERM)
        await has_event(app, handle, "released")
        fleet(processes=1)
        await at.reached(2, "before")
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
    told = await assert_kept(app.ledger, tmp_path, [handle])
    assert (told.rows[handle.id].attempt, told.rows[handle.id].lost) == (1, 0)


@pytest.mark.fault("F12")
@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stop_that_is_made_short_loses_no_job(app, fleet, tmp_path, last):
    """A second SIGTERM ends a stop that a job holds up, and so does SIGKILL."""
    first = fleet(processes=1)
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(tmp_path), port)
        await at.reached(1, "before")
        first.send_signal(signal.SIGTERM)
        first.send_signal(last)
        await asyncio.to_thread(first.wait, SETTLES_S)
        fleet(processes=1)
        await at.reached(2, "before")
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
    await assert_kept(app.ledger, tmp_path, [handle])


async def restarted(app, fleet, folder, env):
    """Kill a worker, whose supervisor starts it again; return under which names it held the job."""
    fleet(processes=1, env=env)
    async with stops() as (at, port):
        handle = await faulty.once.submit(str(folder), port)
        os.kill(await at.reached(1, "before"), signal.SIGKILL)
        await at.reached(2, "before")
        at.go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 2"
    await assert_kept(app.ledger, folder, [handle])
    return await workers_of(app, handle)


@pytest.mark.fault("F13")
async def test_a_restarted_worker_is_nobody_s_old_self(app, fleet, tmp_path):
    before, after = await restarted(app, fleet, tmp_path, {})

    assert before != after


async def test_that_law_finds_a_supervisor_that_gives_old_names(app, fleet, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.reliability.test_processes.SETTLES_S", 4)
    namesake = quick(
        tmp_path,
        planted="from outlast.worker.supervisor import Supervisor as s; "
        "s.__init__.__kwdefaults__['identity'] = lambda: 'me'",
    )

    async def trial():
        before, after = await restarted(app, fleet, tmp_path, namesake)
        assert before != after

    with pytest.raises((AssertionError, TimeoutError)):
        await trial()
