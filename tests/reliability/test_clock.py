"""Clocks that jump, or disagree: nothing starts early, and nobody alive is taken for dead."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import faulty
import pytest

from outlast.core import transition as tr
from outlast.core.job import Want
from outlast.core.limits import DAY, HOUR, LEASE_US, SECOND
from outlast.core.status import Status
from outlast.ledger.sqlite import SqliteLedger, write
from outlast.system import ENTROPY
from outlast.testing.checker import LAWS, Asked, violations
from outlast.testing.scene import AT_ONCE, ERROR, NOW, job, job_id
from outlast.upkeep.loop import Upkeep
from tests.reliability.rig import SETTLES_S, gate, story
from tests.worker.rig import assert_told

JUMPS = {"+1h": HOUR, "-1h": -HOUR, "+1d": DAY, "-1d": -DAY}
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@dataclass
class Clock:
    """A clock that only moves when it is told to; others may be ahead of it, or behind."""

    wall_us: int = NOW
    even_us: int = 0

    def now_us(self):
        return self.wall_us

    def elapsed_us(self):
        return self.even_us

    def passes(self, us):
        self.wall_us += us
        self.even_us += us


@dataclass
class Skewed:
    true: Clock
    by_us: int

    def now_us(self):
        return self.true.now_us() + self.by_us

    def elapsed_us(self):
        return self.true.elapsed_us()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def ledger(tmp_path, clock):
    ledger = SqliteLedger(str(tmp_path / "ledger.db"), clock=clock)
    await ledger.migrate()
    await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    yield ledger
    await ledger.close()


def upkeep(ledger, clock):
    return Upkeep(ledger, clock=clock, entropy=ENTROPY)


async def statuses(ledger, *numbers):
    return [row.status for row in await ledger.get([job_id(n) for n in numbers])]


async def live_through(ledger, clock, skews):
    """Let several upkeeps keep one ledger, at once; a delay and a backoff run out meanwhile."""
    keepers = [upkeep(ledger, Skewed(clock, by)) for by in skews]

    async def tick():
        await asyncio.gather(*(keeper.tick() for keeper in keepers))

    await ledger.insert([job(1, delay_us=10 * SECOND), job(2, expires_in_us=20 * SECOND)])
    await ledger.put("queue", "default", '{"paused": true}')
    for _ in range(10):
        await tick()
        assert await statuses(ledger, 1, 2) == [Status.SCHEDULED, Status.PENDING]
        clock.passes(SECOND)
    await tick()
    assert await statuses(ledger, 1, 2) == [Status.PENDING, Status.PENDING]
    clock.passes(10 * SECOND)
    await tick()
    assert await statuses(ledger, 1, 2) == [Status.PENDING, Status.CANCELLED]

    await ledger.put("queue", "default", '{"paused": false}')
    await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    (lease,) = await ledger.claim(Want("w", ("default",), 1))
    await ledger.commit([tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0, after_us=5 * SECOND)])
    for _ in range(5):
        await tick()
        assert await statuses(ledger, 1) == [Status.SCHEDULED]
        clock.passes(SECOND)
    await tick()
    assert await statuses(ledger, 1) == [Status.PENDING]
    assert len(await ledger.history(job_id(1), type="due")) == 2
    await assert_told(ledger, job_id(1))


@pytest.mark.fault("F45", "F46")
@pytest.mark.parametrize("by", JUMPS.values(), ids=JUMPS)
async def test_of_three_upkeeps_with_a_clock_astray_none_makes_a_job_due_early_or_twice(
    ledger, clock, by
):
    await live_through(ledger, clock, (by, 0, -by))


async def test_that_law_finds_a_ledger_that_believes_its_caller_s_clock(ledger, clock, monkeypatch):
    real = write.sql
    planted = ("AND (:when IS NULL OR", "AND (1 OR :when IS NULL OR")
    monkeypatch.setattr(write, "sql", lambda name: real(name).replace(*planted))

    with pytest.raises(AssertionError):
        await live_through(ledger, clock, (HOUR, 0))


@pytest.mark.fault("F45")
async def test_a_page_full_of_jobs_that_are_not_due_yet_keeps_a_fast_upkeep_no_time(ledger, clock):
    await ledger.insert([job(n, delay_us=10 * SECOND) for n in range(1_000)])

    async with asyncio.timeout(10):
        await upkeep(ledger, Skewed(clock, HOUR)).tick()

    assert set(await statuses(ledger, *range(1_000))) == {Status.SCHEDULED}


async def jump(ledger, clock, by):
    """Let the machine's clock jump while a worker holds a job, and never renews thereafter."""
    keeper = upkeep(ledger, clock)
    await ledger.insert([job(1)])
    await ledger.claim(Want("w", ("default",), 1))
    await keeper.tick()
    clock.wall_us += by
    clock.passes(SECOND)
    await keeper.tick()
    assert await statuses(ledger, 1) == [Status.PROCESSING]
    assert await ledger.extend(["w"], LEASE_US) == []
    for _ in range(LEASE_US // SECOND):
        assert await statuses(ledger, 1) == [Status.PROCESSING]
        clock.passes(SECOND)
        await keeper.tick()
    # From here on time is even again, and who is silent for a lease is dead.
    assert await statuses(ledger, 1) == [Status.PENDING]
    await assert_told(ledger, job_id(1))


@pytest.mark.fault("F44")
@pytest.mark.parametrize("by", [HOUR, DAY], ids=["+1h", "+1d"])
async def test_a_clock_that_jumps_makes_nobody_look_dead_who_still_renews(ledger, clock, by):
    await jump(ledger, clock, by)


@pytest.mark.fault("F44")
async def test_a_worker_that_is_known_to_be_dead_is_not_waited_for_after_a_jump(ledger, clock):
    keeper = upkeep(ledger, clock)
    await ledger.insert([job(1)])
    await ledger.claim(Want("w", ("default",), 1))
    clock.wall_us += HOUR
    await keeper.tick()

    await ledger.extend(["w"], 0)
    await keeper.tick()

    assert await statuses(ledger, 1) == [Status.PENDING]


async def test_that_law_finds_an_upkeep_that_judges_at_once(ledger, clock, monkeypatch):
    monkeypatch.setattr(Upkeep, "_is_patient", lambda _: False)

    with pytest.raises(AssertionError):
        await jump(ledger, clock, HOUR)


@pytest.mark.fault("F44", "F45")
async def test_a_real_fleet_loses_no_lease_when_the_clock_jumps(app, fleet, tmp_path):
    """The clock of the supervisor, of upkeep and of the workers, by libfaketime."""
    if not LIBRARIES:
        if "root" in os.environ.get("OUTLAST_REQUIRE", ""):
            raise AssertionError("libfaketime is missing: apt-get install libfaketime")
        pytest.skip("no libfaketime here: apt-get install libfaketime")
    shift = tmp_path / "shift"
    shift.write_text("+0\n")
    reached, go = asyncio.Event(), asyncio.Event()

    async def decide(pid, token, what):
        reached.set()
        await go.wait()

    env = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with gate(decide) as port, asyncio.timeout(SETTLES_S):
        fleet(processes=2, env=env)
        handle = await faulty.once.submit(str(tmp_path), port)
        await reached.wait()
        others = []
        for by in JUMPS:
            # In one step: who read a file half written would see the clock jump back and forth.
            following = tmp_path / "following"
            following.write_text(f"{by}\n")
            following.replace(shift)
            # When upkeep has made the one due, it has judged the leases, too.
            delay = 0.001 if by.startswith("+") else 0
            others.append(await faulty.plain.options(delay=delay).submit(1))
            assert await others[-1].result(timeout=SETTLES_S) == 1
        go.set()
        assert await handle.result(timeout=SETTLES_S) == "by 1"

    told = await story(
        app.ledger, tmp_path, [Asked("accepted", one.id) for one in (handle, *others)]
    )
    # All but the order of the instants: with SQLite they are the machine's, and it went back.
    assert violations(told, [name for name in LAWS if name != "I10"]) == []
    times = [event.at for event in told.histories[others[2].id]]
    assert times[-1] - times[0] > DAY - HOUR  # the jumps were real
