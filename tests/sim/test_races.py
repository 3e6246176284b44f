"""Cancel, completion, time limit, drain and a lost worker at one instant: one of them wins.

Whoever asked is told the truth. Real pool, supervisor, upkeep and handles, on virtual time; the
instants are drawn so close to each other that every order of them is met.
"""

import asyncio
import random
from collections import Counter

import pytest

from outlast.core.errors import JobCancelledError, JobFailedError
from outlast.core.job import Filter, Page
from outlast.core.retry import Backoff
from outlast.core.status import Status
from outlast.ledger.memory import MemoryLedger
from outlast.sdk.app import Outlast
from outlast.sdk.context import Job
from outlast.sdk.submission import Options, new_job
from outlast.testing.sim.loop import VirtualClock, VirtualLoop
from outlast.testing.sim.machine import Machine
from outlast.testing.sim.port import watched
from outlast.testing.sim.referee import Referee

RACES = 10_000
SHARE = 2_500
JOBS = 25  # races in one world
AT_S = 1.0  # when all of it happens
NEAR_S = (-0.06, -0.001, 0.0, 0.0, 0.0, 0.001, 0.03, 0.049, 0.05, 0.051, 0.08)

app = Outlast(ledger="memory://")


async def passing(seconds):
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(max(seconds, 0), over.set)
    await over.wait()


@app.task(retries=1, backoff=Backoff(base_us=0), grace=0.05)
async def work(job: Job, until: float, how: str) -> int:
    try:
        await passing(until - asyncio.get_running_loop().time())
    except asyncio.CancelledError:
        if how == "raises":
            raise RuntimeError("the cleanup failed") from None
        if how == "ignores":
            await passing(0.03)
            return job.token
        if how == "deaf":
            await passing(1)
        raise
    return job.token


class Race:
    def __init__(self, seed, kind):
        self.die = random.Random(f"race {seed}")
        self.referee = Referee()
        self.loop = VirtualLoop(random.Random(f"order {seed}"))
        self.ledger = watched(kind, VirtualClock(self.loop), self.referee)
        self.winners = Counter()

    async def run(self):
        machine = Machine(self.loop, self.ledger, self.referee, self.die, frozenset(), app.tasks)
        machine.concurrency, machine.processes = JOBS, 1
        machine.boot()
        await app.open(ledger=self.ledger)
        jobs = [asyncio.create_task(self.one(n)) for n in range(JOBS)]
        await passing(AT_S + self.die.choice(NEAR_S) - self.loop.time())
        match self.die.choice(["nothing", "drain", "kill", "hint"]):
            case "drain":
                machine.supervisor.restart()
            case "kill":
                machine.workers[0].kill()
            case "hint":
                await self.ledger.extend([machine.workers[0].holder], 0)
        async with asyncio.timeout(120):
            await asyncio.gather(*jobs)
            machine.stop()
            while machine.is_up:
                await passing(1)
        rows = await self.ledger.find(Filter(), Page(limit=1_000, oldest_first=True))
        self.referee.end(rows, self.loop.held)
        await app.close()

    async def one(self, number):
        die, near = self.die, NEAR_S
        until, limit = AT_S + die.choice(near), die.choice([None, AT_S + die.choice(near) - 0.1])
        how = die.choice(["obeys", "obeys", "raises", "ignores", "deaf"])
        job = new_job(
            work.task,
            {"until": until, "how": how},
            Options(timeout=limit, max_attempts=die.choice([1, 2])),
        )
        job.id = f"00000000-0000-7000-8000-{number:012x}"
        await passing(0.2)
        handle = await app.submit(job)
        result = asyncio.create_task(self.result(handle))
        await passing(AT_S + die.choice(near) - self.loop.time())
        run = self.referee.run_of(handle.id)
        told = await handle.cancel(timeout=60)
        self.referee.answered(handle.id, told, run)
        status = (await handle.record()).status
        # The answer says which one it was, and the waiter is told the same.
        assert (told in {"cancelled", "killed"}) == (status is Status.CANCELLED), (told, status)
        assert await result is status
        self.winners[told, status.value] += 1

    async def result(self, handle):
        try:
            await handle.result()
        except JobCancelledError:
            return Status.CANCELLED
        except JobFailedError:
            return Status.FAILED
        return Status.COMPLETED


def race(seed, kind=MemoryLedger):
    raced = Race(seed, kind)
    try:
        raced.loop.run_until_complete(raced.run())
        assert raced.referee.faults == [], seed
    finally:
        raced.loop.discard()
    assert raced.winners.total() == JOBS
    return raced.winners


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, RACES, SHARE))
def test_of_ten_thousand_races_each_has_one_winner_and_every_answer_is_true(first):
    winners = Counter()
    for seed in range(first // JOBS, (first + SHARE) // JOBS):
        winners += race(seed)

    print(dict(winners))
    assert winners.total() == SHARE
    assert winners.keys() == {
        ("cancelled", "cancelled"),
        ("killed", "cancelled"),
        ("too-late", "completed"),
        ("too-late", "failed"),
    }


class Unguarded(MemoryLedger):
    """Completes whatever the job has become meanwhile."""

    def _accepts(self, row, change, now):
        return change.event == "completed" or super()._accepts(row, change, now)


class Blind(MemoryLedger):
    """Lets a job go back to its queue although it was asked to stop."""

    async def commit(self, transitions, *, now=None):
        blind = [change._replace(unless_cancelled=False) for change in transitions]
        return await super().commit(blind, now=now)


def thousand_races(kind):
    for seed in range(1_000 // JOBS):
        race(seed, kind)


@pytest.mark.parametrize("kind", [Unguarded, Blind])
def test_those_races_find_a_ledger_that_lets_two_win(kind):
    with pytest.raises(AssertionError, match=r"I[0-9]+: "):
        thousand_races(kind)
