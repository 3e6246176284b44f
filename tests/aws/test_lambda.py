"""Jobs on AWS Lambda: a process that is frozen between events and killed at its deadline."""

import asyncio
import json
import os
import time

import pytest

from outlast.aws import handler as aws_handler
from outlast.broker import Ticket
from outlast.broker.message import packed
from outlast.core.errors import InvalidInputError
from outlast.core.fold import fold, of_row
from outlast.core.job import NewJob
from outlast.core.limits import SECOND
from outlast.core.status import Status
from outlast.ledger import open_ledger
from outlast.sdk.app import Outlast
from outlast.system import new_id
from tests.aws.sandbox import Context, sandboxes
from tests.postgres import PLAIN

FUNCTION = '''\
import asyncio
import logging
import os
import time
from pathlib import Path

from outlast import Job, Outlast
from outlast.aws import handler as aws_handler

app = Outlast()
TRACE = Path(os.environ["TRACE"])


def trace(line):
    with TRACE.open("a") as file:
        file.write(line + "\\n")


async def one(n: int, seconds: float) -> int:
    trace(f"begin {n}")
    await asyncio.sleep(seconds)
    trace(f"end {n}")
    return n


@app.task(retries=0)
async def long(job: Job, steps: int, seconds: float) -> int:
    """Steps that take longer than an invocation may, all together."""
    trace("attempt")
    total = 0
    for n in range(steps):
        total += await job.step(f"step {n}", one, n, seconds)
    return total


@app.task(retries=0)
async def loop(job: Job, items: int) -> int:
    async for n in job.resume(range(items), every=1_000):
        await asyncio.sleep(0.05)
        trace(f"item {n}")
    return items


@app.task(retries=0)
async def endless(job: Job) -> None:
    trace("attempt")
    await asyncio.Event().wait()


@app.task(retries=0)
def deaf(job: Job) -> None:
    trace("attempt")
    time.sleep(20)


@app.task(retries=0)
async def quick(n: int) -> int:
    trace(f"quick {n}")
    return n


handler = aws_handler(app)
'''

# Where the ledger makes no difference, one of them is enough.
ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def event_of(*bodies):
    return {
        "Records": [
            {"messageId": f"m{number}", "body": body, "eventSource": "aws:sqs"}
            for number, body in enumerate(bodies)
        ]
    }


def ticket(job="any", queue="default"):
    return packed(Ticket(queue, job)).decode()


def failed(answer):
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


class Place:
    """A ledger, sandboxes that work on it, and what their jobs wrote down."""

    def __init__(self, url, folder):
        self.url = url
        self.trace = folder / "trace"
        self.trace.touch()
        self.environment = {
            "OUTLAST_LEDGER": url,
            "OUTLAST_BLOBS": f"{folder}/blobs",
            "TRACE": str(self.trace),
        }

    def _using(self, work):
        async def session():
            ledger = open_ledger(self.url)
            try:
                await ledger.migrate()
                return await work(ledger)
            finally:
                await ledger.close()

        return asyncio.run(session())

    def submit(self, task, **args):
        job = NewJob(id=new_id(), task=task, args=json.dumps(args))
        self._using(lambda ledger: ledger.insert([job]))
        return job.id

    def job(self, id_):
        """Return the job, after its history was read against it."""

        async def look(ledger):
            events = await ledger.history(id_)
            (row,) = await ledger.get([id_])
            assert fold(events) == of_row(row)
            return row, [event.type for event in events]

        return self._using(look)

    def over(self):
        """Let the leases of every worker be over, as 30 seconds would."""

        async def end(ledger):
            holders = [doc.key for doc in await ledger.docs("worker")]
            await ledger.extend(holders, 0)
            return holders

        return self._using(end)

    def given_up(self):
        """Return the jobs that anybody may take over now."""

        async def look(ledger):
            return [lease.id for lease in await ledger.expired(10)]

        return self._using(look)

    def workers(self):
        return self._using(lambda ledger: ledger.docs("worker"))

    def lines(self):
        return self.trace.read_text("utf-8").splitlines()

    def until_traced(self, line):
        """Return when a job has written a line."""
        while line not in self.lines():
            pass


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("OUTLAST_")]:
        monkeypatch.delenv(name)
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path}/outlast.db", tmp_path)
    return Place(request.getfixturevalue("database") + PLAIN, tmp_path)


@pytest.fixture
def sandbox(place, tmp_path):
    with sandboxes(tmp_path / "code", FUNCTION, place.environment) as start:
        yield start


@pytest.mark.slow
def test_a_job_longer_than_the_deadline_goes_on_in_the_next_invocation(place, sandbox):
    """One run is accepted, no step begins twice, and no attempt is used up."""
    steps = 45
    job = place.submit("long", steps=steps, seconds=0.2)
    one = sandbox()
    answers = []

    while not answers or failed(answers[-1]):
        assert len(answers) < 6
        answers.append(one.invoke(event_of(ticket(job))))

    row, told = place.job(job)
    begun = [line for line in place.lines() if line.startswith("begin")]
    assert len(answers) >= 3
    assert (row.status, row.result, row.attempt) == (Status.COMPLETED, str(sum(range(steps))), 1)
    assert begun == [f"begin {n}" for n in range(steps)]
    assert told.count("completed") == 1
    assert told.count("released") == len(answers) - 1
    assert place.workers() == []


@pytest.mark.slow
@ON_SQLITE
def test_a_loop_that_resumes_loses_no_item_to_the_deadline(place, sandbox):
    job = place.submit("loop", items=150)
    one = sandbox()

    for _ in range(3):
        one.invoke(event_of(ticket(job)))

    assert place.job(job)[0].status == Status.COMPLETED
    assert place.lines() == [f"item {n}" for n in range(150)]


@pytest.mark.slow
def test_a_sandbox_that_dies_loses_the_step_it_was_in_and_nothing_else(place, sandbox):
    job = place.submit("long", steps=8, seconds=0.3)
    one, other = sandbox(), sandbox()
    one.begin(event_of(ticket(job)))
    place.until_traced("begin 4")  # so the step before it is stored
    one.kill()
    held = place.over()

    answer = other.invoke(event_of(ticket(job)))

    row, told = place.job(job)
    begun = [line for line in place.lines() if line.startswith("begin")]
    assert len(held) == 1
    assert failed(answer) == []
    assert (row.status, row.result) == (Status.COMPLETED, "28")
    assert told.count("completed") == 1
    assert {line: begun.count(line) for line in set(begun)}.items() >= {
        f"begin {n}": 1 for n in (0, 1, 2, 3, 6, 7)
    }.items()
    assert len(begun) <= 9


def test_a_batch_with_junk_is_done_but_for_the_junk_which_never_comes_again(place, sandbox):
    jobs = [place.submit("quick", n=n) for n in range(3)]
    bodies = [ticket(job) for job in jobs]

    answer = sandbox().invoke(event_of("junk", *bodies, "[]", '{"queue": 3}'))

    assert failed(answer) == []
    assert {place.job(job)[0].status for job in jobs} == {Status.COMPLETED}


def test_a_ticket_too_many_finds_nothing(place, sandbox):
    job = place.submit("quick", n=1)
    one = sandbox()

    answers = [one.invoke(event_of(ticket(job), ticket(job))) for _ in range(2)]

    assert [failed(answer) for answer in answers] == [[], []]
    assert place.lines() == ["quick 1"]
    assert place.job(job)[1].count("claimed") <= 1


def test_so_many_tickets_start_so_many_jobs_and_the_ledger_says_which(place, sandbox):
    """Five wait, two tickets name the last ones; those that came first are done."""
    jobs = [place.submit("quick", n=n) for n in range(5)]

    answer = sandbox().invoke(event_of(ticket(jobs[3]), ticket(jobs[4])))

    done = [place.job(job)[0].status == Status.COMPLETED for job in jobs]
    assert failed(answer) == []
    assert done == [True, True, False, False, False]


@pytest.mark.slow
def test_of_a_batch_only_what_was_not_done_comes_again(place, sandbox):
    quick, endless = place.submit("quick", n=1), place.submit("endless")

    answer = sandbox().invoke(event_of(ticket(quick), ticket(endless)), 2_500)

    assert len(failed(answer)) == 1
    assert place.job(quick)[0].status == Status.COMPLETED
    row, told = place.job(endless)
    assert (row.status, row.attempt, told.count("released")) == (Status.PENDING, 0, 1)


@pytest.mark.slow
@ON_SQLITE
def test_a_job_that_hears_nothing_is_given_up_before_the_deadline(place, sandbox):
    """A thread can't be stopped; its job goes on elsewhere, and the invocation ends in time."""
    job = place.submit("deaf")

    answer = sandbox().invoke(event_of(ticket(job)))

    row, _ = place.job(job)
    assert failed(answer) == ["m0"]
    assert row.status == Status.PROCESSING
    assert place.given_up() == [row.id]


@pytest.mark.slow
@ON_SQLITE
def test_a_long_invocation_keeps_its_lease(place, sandbox):
    """The first heartbeat comes after ten seconds; without it the job would be rescued alive."""
    job = place.submit("endless")
    one = sandbox()
    one.begin(event_of(ticket(job)), 20_000)
    place.until_traced("attempt")
    (before,) = place.workers()
    end = time.monotonic() + 14

    while (after := place.workers()[0].lease_until) == before.lease_until:
        assert time.monotonic() < end

    assert after - before.lease_until > 8 * SECOND


@pytest.mark.slow
@ON_SQLITE
def test_without_the_end_behind_a_step_one_would_begin_twice(place, tmp_path):
    """What the law above is worth: the same function, whose jobs only hear of the stop itself."""
    job = place.submit("long", steps=30, seconds=0.4)
    bare = f"{FUNCTION}\nfrom outlast.aws import shift\nfrom outlast.worker.executors import Here\n"

    with sandboxes(tmp_path / "code", f"{bare}shift.Tasks = Here\n", place.environment) as start:
        one = start()
        for _ in range(4):
            one.invoke(event_of(ticket(job)), 2_500)

    begun = [line for line in place.lines() if line.startswith("begin")]
    assert len(begun) > len(set(begun))


def test_an_event_that_is_none_of_sqs_is_refused_by_name():
    handler = aws_handler(Outlast(ledger="memory://"))

    with pytest.raises(InvalidInputError, match="event: expected the Records of SQS"):
        handler({"detail-type": "Scheduled Event"}, Context(1_000))

    handler.close()


def test_a_ledger_that_is_away_sends_every_ticket_back():
    handler = aws_handler(Outlast(ledger="postgresql://nobody@127.0.0.1:1/none"))

    answer = handler(event_of(ticket(), "junk", ticket()), Context(3_000))

    assert failed(answer) == ["m0", "m2"]
    handler.close()
