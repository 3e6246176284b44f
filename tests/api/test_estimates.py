"""What a waiting job is told of its place, against what came of it."""

import json
from itertools import count

import pytest

from outlast.api.context import Context
from outlast.api.guard import ANYBODY, SCOPES, Caller
from outlast.api.jobs import place_of
from outlast.core import transition
from outlast.core.job import NewJob, Want
from outlast.core.limits import HOUR, SECOND
from outlast.system import new_id

START = 1_800_000_000_000_000
RUN = 3 * SECOND
SLOTS = 2


class Clock:
    def __init__(self):
        self.at = START

    def now_us(self):
        return self.at

    def elapsed_us(self):
        return self.at


class Shop:
    """A worker of two slots whose jobs take three seconds each, by a clock of the test's own."""

    def __init__(self, app, context, clock):
        self.ledger, self.context, self.clock = app.ledger, context, clock
        self.started, self.ended, self._held = {}, {}, []

    async def submit(self, number, **fields):
        jobs = [NewJob(id=new_id(), task="bake", queue="q", **fields) for _ in range(number)]
        await self.ledger.insert(jobs, now=self.clock.at)
        return [job.id for job in jobs]

    async def work(self, seconds):
        """Let time pass, and the worker do what it can, its slots half a run apart."""
        for _ in range(int(seconds / 1.5)):
            self.clock.at += RUN // 2
            for lease in [one for one in self._held if self.clock.at - self.started[one.id] >= RUN]:
                await self.ledger.commit([transition.completed(lease, "1")], now=self.clock.at)
                self._held.remove(lease)
                self.ended[lease.id] = self.clock.at
            room = 1 if len(self._held) < SLOTS else 0
            for lease in await self.ledger.claim(Want("w", ("q",), room), now=self.clock.at):
                self.started[lease.id] = self.clock.at
                self._held.append(lease)

    async def place(self, job_id, who=ANYBODY):
        (job,) = await self.ledger.get([job_id])
        return await place_of(self.context, job, who, self.clock.at)


@pytest.fixture
async def shop(app, api):
    clock = Clock()
    context = Context(app, clock)
    await context.refresh()
    await app.ledger.put("worker", "w", "{}", ttl_us=HOUR, now=START)
    yield Shop(app, context, clock)
    await context.watch.close()


async def test_jobs_start_and_end_when_they_were_told_to(shop):
    ids = await shop.submit(30)
    await shop.work(12)
    waiting = [one for one in ids if one not in shop.started]
    running = [one for one in ids if one in shop.started and one not in shop.ended]

    told = {one: await shop.place(one) for one in waiting + running}
    await shop.work(60)

    assert [told[one].position for one in waiting] == list(range(len(waiting)))
    assert len(waiting) > 20
    for one in waiting:
        assert abs(told[one].starts_at - shop.started[one]) <= RUN / SLOTS
        assert abs(told[one].ends_at - shop.ended[one]) <= RUN / SLOTS
    assert running
    for one in running:
        assert (told[one].position, told[one].starts_at) == (None, None)
        assert told[one].ends_at == shop.ended[one]


async def test_nothing_is_told_that_is_not_known(shop):
    (first,) = await shop.submit(1)
    (later,) = await shop.submit(1, delay_us=HOUR)

    assert await shop.place(first) == (0, None, None)
    assert await shop.place(later) == (None, START + HOUR, None)


async def test_a_paused_queue_promises_nothing(shop):
    ids = await shop.submit(10)
    await shop.work(9)
    await shop.ledger.put("queue", "q", json.dumps({"paused": True}))
    await shop.context.refresh()

    place = await shop.place(ids[-1])

    assert place.position is not None
    assert (place.starts_at, place.ends_at) == (None, None)


async def test_a_tenant_s_place_is_among_its_own_jobs(shop):
    numbers = count()
    mine = []
    for _ in range(8):
        await shop.submit(3, tenant="b")
        mine += await shop.submit(1, tenant="a")
    who = Caller("a", SCOPES)

    assert [(await shop.place(one, who)).position for one in mine] == [
        next(numbers) for _ in range(8)
    ]
    assert (await shop.place(mine[-1])).position == 31
