"""A clock that a test moves, schedules as records, and what came of their ticks."""

from outlast.core.job import Filter, NewJob, Page
from outlast.core.limits import SECOND
from outlast.core.schedule import Schedule, from_doc, job_fields, to_doc
from outlast.upkeep.tick import Ticker

T0 = 1_800_000_000 * SECOND  # 08:00:00 UTC


class Hands:
    """A clock that a test moves by hand."""

    def __init__(self, now=T0):
        self.now = now
        self.elapsed = 0

    def now_us(self):
        return self.now

    def elapsed_us(self):
        return self.elapsed

    def turn(self, us, *, jump=0):
        self.now += us + jump
        self.elapsed += us


def schedule(name="s", job=None, **spec):
    fields = job_fields(NewJob(id="", task="t", **(job or {})))
    return Schedule(name=name, spec={"task": "t", **spec}, job=fields)


async def put(ledger, made):
    await ledger.put("schedule", made.key, to_doc(made), version=0)


async def read(ledger, name="s"):
    (doc,) = await ledger.docs("schedule", name)
    return from_doc(doc.key, doc.doc)


async def fired(ledger):
    """The ticks that have a job, oldest first, in seconds from T0."""
    found, after = [], None
    while page := await ledger.find(Filter(), Page(limit=500, after=after, oldest_first=True)):
        found += [(int(job.id.replace("-", "")[:12], 16) * 1_000 - T0) // SECOND for job in page]
        after = page[-1].number
    return found


async def pass_time(ledger, clock, seconds, ticker=None, *, step=SECOND):
    ticker = ticker or Ticker(ledger, clock)
    for _ in range(seconds * SECOND // step):
        clock.turn(step)
        await ticker.tick()
