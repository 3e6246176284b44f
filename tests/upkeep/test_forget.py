"""Forgetting: what is over goes, what is in use stays, and a crash leaves nothing for ever."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from outlast import Job
from outlast.core import transition as tr
from outlast.core.errors import GoneError, InvalidInputError, NotFoundError
from outlast.core.job import NewJob
from outlast.core.limits import DAY, HOUR, ORPHAN_AGE_US, TOMBSTONE_TTL_US
from outlast.core.retention import Retention
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, new_id
from outlast.upkeep.forget import Forgetting
from tests.worker.rig import AT_ONCE, DEADLINE_S, new_app, running

BIG = "x" * 100_000


class Later:
    """A clock that is ahead by as much as a test says."""

    def __init__(self, ahead_us=0):
        self.ahead_us = ahead_us

    def now_us(self):
        return CLOCK.now_us() + self.ahead_us

    def elapsed_us(self):
        return CLOCK.elapsed_us() + self.ahead_us


@pytest.fixture(params=["memory", "sqlite"])
async def app(request, tmp_path):
    ledger = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/l.db"
    async with Outlast(ledger=ledger, blobs=str(tmp_path / "blobs")) as app:
        yield app


def forgetting(app, ahead_us=0, **rules):
    return Forgetting(app.ledger, app.blobs, Retention.read(rules), clock=Later(ahead_us))


async def ended(app, how="completed", *, queue="default", task="t"):
    """Make a job that has ended so."""
    job = NewJob(id=new_id(), task=task, queue=queue)
    await app.ledger.put("worker", "w", "{}", ttl_us=DAY)
    await app.ledger.insert([job])
    if how == "cancelled":
        await app.ledger.commit([tr.cancel(job.id, Status.PENDING, reason="x")])
        return job.id
    from outlast.core.job import Want

    (lease,) = await app.ledger.claim(Want("w", (queue,), 1))
    if how == "completed":
        change = tr.completed(lease, "1")
    else:
        change = tr.failed(
            lease, {"type": "E", "message": "m", "retryable": False}, backoff=AT_ONCE, dice=0
        )
    await app.ledger.commit([change])
    if how == "discarded":
        await app.ledger.commit([tr.discarded(job.id, "x")])
    return job.id


async def left(app, *ids):
    return [job is not None for job in await app.ledger.get(ids)]


async def files(app):
    return {blob.key async for portion in app.blobs.store.found() for blob in portion}


async def test_ended_jobs_go_after_thirty_days_and_dead_letters_stay(app):
    kinds = ("completed", "cancelled", "discarded", "failed")
    ids = [await ended(app, kind) for kind in kinds]
    waiting = NewJob(id=new_id(), task="t")
    await app.ledger.insert([waiting])

    assert await forgetting(app, 30 * DAY - HOUR).prune() == 0
    assert await forgetting(app, 30 * DAY + HOUR).prune() == 3

    assert await left(app, *ids, waiting.id) == [False, False, False, True, True]


async def test_a_task_beats_its_queue_and_a_queue_beats_the_rest(app):
    rules = {
        "completed": "10d",
        "queues": {"mails": {"completed": "1d"}, "books": {"completed": "forever"}},
        "tasks": {"ping": {"completed": "1h"}, "invoice": {"completed": "20d"}},
    }
    places = [
        ("default", "t"),
        ("mails", "t"),
        ("mails", "ping"),
        ("mails", "invoice"),
        ("books", "t"),
    ]
    ids = [await ended(app, queue=queue, task=task) for queue, task in places]
    seen = []

    for ahead in (2 * HOUR, 2 * DAY, 11 * DAY, 21 * DAY, 400 * DAY):
        await forgetting(app, ahead, **rules).prune()
        seen.append(await left(app, *ids))

    assert seen == [
        [True, True, False, True, True],
        [True, False, False, True, True],
        [False, False, False, True, True],
        [False, False, False, False, True],
        [False, False, False, False, True],
    ]


async def test_one_walker_sees_each_time_pass(app):
    walker = forgetting(app, completed="10d", tasks={"ping": {"completed": "1h"}})
    first, ping = await ended(app), await ended(app, task="ping")
    seen = []

    for ahead in (0, 2 * HOUR, 11 * DAY):
        walker._clock.ahead_us = ahead
        await walker.prune()
        seen.append(await left(app, first, ping))

    assert seen == [[True, True], [True, False], [False, False]]


async def test_more_than_a_batch_goes_in_one_go(app):
    ids = [await ended(app) for _ in range(250)]

    assert await forgetting(app, 31 * DAY).prune() == 250
    assert not any(await left(app, *ids))


async def test_a_late_discard_is_seen_on_the_next_day(app):
    walker = forgetting(app, 31 * DAY)
    failed = await ended(app, "failed")
    await walker.prune()
    await app.ledger.commit([tr.discarded(failed, "x")])

    walker._clock.ahead_us += DAY
    await walker.prune()

    assert await left(app, failed) == [False]


async def test_what_is_gone_is_told_as_gone_for_a_while(app):
    job_id = await ended(app)
    await forgetting(app, 31 * DAY).prune()

    with pytest.raises(GoneError, match="removed"):
        await app.handle(job_id).status()

    await app.ledger.prune(0, 10, now=CLOCK.now_us() + TOMBSTONE_TTL_US + HOUR)
    assert await app.ledger.docs("tombstone") == []
    with pytest.raises(NotFoundError) as told:
        await app.handle(job_id).status()
    assert not isinstance(told.value, GoneError)


async def test_the_files_of_a_pruned_job_go_with_it(app):
    @app.task
    async def make(job: Job, text: str) -> str:
        await job.save("f", b"x")
        await job.step("s", lambda: text)
        return text

    handle = await make.submit(text=BIG)
    async with running(app):
        await handle.result(DEADLINE_S)
    assert len(await files(app)) == 4

    await forgetting(app).sweep()
    assert len(await files(app)) == 4
    await forgetting(app, 31 * DAY).prune()

    assert await files(app) == set()


async def test_only_what_is_old_and_unused_is_swept(app):
    @app.task
    async def make(job: Job, text: str) -> str:
        await job.save("f", b"old")
        await job.save("f", b"new")
        await job.step("s", lambda: text)
        return text

    handle = await make.submit(text=BIG)
    async with running(app):
        await handle.result(DEADLINE_S)
    stray = await app.blobs.put(new_id(), b"of no job")
    lost = await app.blobs.put(handle.id, b"of an attempt that died")
    before = await files(app)

    assert await forgetting(app, ORPHAN_AGE_US - HOUR).sweep() == 0
    assert await forgetting(app, ORPHAN_AGE_US + HOUR).sweep() == 3

    assert {stray.key, lost.key} < before - await files(app)
    assert await handle.result() == BIG
    assert b"".join([chunk async for chunk in handle.open("f")]) == b"new"


async def test_a_file_whose_time_is_over_is_swept_at_once(app):
    @app.task
    async def make(job: Job) -> None:
        await job.save("short", b"x", ttl="1h")
        await job.save("long", b"y", ttl="2h")

    handle = await make.submit()
    async with running(app):
        await handle.result(DEADLINE_S)

    assert await forgetting(app, HOUR + 1).sweep() == 1
    assert [file.name for file in await handle.artifacts()] == ["short", "long"]  # by this clock
    assert len(await files(app)) == 1


async def test_an_upload_lives_a_day(app):
    owner = new_id()
    stored = await app.blobs.put(owner, b"1")
    doc = json.dumps({"key": stored.key, "size": 1, "sha256": stored.sha256, "tenant": ""})
    await app.ledger.put("upload", owner, doc, ttl_us=DAY)

    assert await forgetting(app, DAY + HOUR).sweep() == 0
    await app.ledger.prune(0, 10, now=CLOCK.now_us() + DAY + 1)

    assert await app.ledger.docs("upload") == []
    assert await forgetting(app, DAY + HOUR).sweep() == 1


async def test_of_many_nodes_one_sweeps_in_an_hour(app):
    nodes = [forgetting(app) for _ in range(5)]

    first = await asyncio.gather(*(node._is_my_turn() for node in nodes))
    again = await asyncio.gather(*(node._is_my_turn() for node in nodes))
    later = await forgetting(app, 2 * HOUR)._is_my_turn()

    assert (sum(first), sum(again), later) == (1, 0, True)


DYING = """
import asyncio, os, signal, sys
from outlast import Job, Outlast
from outlast.worker.effects import LeasedEffects

app = Outlast()

@app.task
async def make(job: Job) -> int:
    if job.attempt == 1:
        async def die(self, event, data, *, artifact=None):
            os.kill(os.getpid(), signal.SIGKILL)  # the file is there, and its row says nothing yet
        LeasedEffects.amend = die
    await job.save("f", b"x" * 1000)
    return job.attempt
"""


async def test_a_kill_between_file_and_row_leaves_nothing_for_ever(tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    app = new_app(tmp_path)
    worker = subprocess.Popen(  # noqa: ASYNC220 - it runs beside this test
        [
            sys.executable, "-m", "outlast", "worker", str(tmp_path / "dying.py"),
            "--processes", "1", "--ledger", app.settings.ledger, "--blobs", app.settings.blobs,
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip

    @app.task
    async def make(job: Job) -> int: ...

    try:
        async with app:
            handle = await make.submit()
            assert await handle.result(DEADLINE_S) == 2
            assert len(await files(app)) == 2

            assert await forgetting(app, ORPHAN_AGE_US + HOUR).sweep() == 1

            assert b"".join([chunk async for chunk in handle.open("f")]) == b"x" * 1_000
    finally:
        worker.send_signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait, 10)


async def test_a_kill_in_the_middle_of_a_write_leaves_nothing_for_ever(app, tmp_path):
    code = (
        "import asyncio, os, signal, sys\n"
        "from outlast.blobs import open_blobs\n"
        "async def chunks():\n"
        "    yield b'x' * 3_000_000\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(open_blobs(sys.argv[1]).put(sys.argv[2], chunks()))\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, app.settings.blobs, new_id()], check=False
    )

    assert done.returncode == -signal.SIGKILL
    assert len(await files(app)) == 1
    assert await forgetting(app, ORPHAN_AGE_US + HOUR).sweep() == 1
    assert not [name for _, _, names in os.walk(tmp_path / "blobs") for name in names]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"done": "1d"}, "done: no such kind of job"),
        ({"completed": "soon"}, "completed: expected a duration .* or forever"),
        ({"queues": {"a": {"x": 1}}}, "queues.a.x"),
        ({"tasks": {"a": "1d"}}, "tasks.a: expected a mapping"),
        ({"queues": ["a"]}, "queues: expected a mapping"),
    ],
)
def test_rules_that_can_not_be_kept_are_refused(rules, told):
    with pytest.raises(InvalidInputError, match=told):
        Retention.read(rules)
    with pytest.raises(InvalidInputError, match="retention"):
        Settings.load(retention=rules)


# The planted bugs ---------------------------------------------------------------------------------


async def test_a_sweep_that_forgets_the_steps_is_caught(app, monkeypatch):
    async def nothing(self, owner):
        return set()

    monkeypatch.setattr(Forgetting, "_kept_elsewhere", nothing)

    with pytest.raises(AssertionError):
        await test_only_what_is_old_and_unused_is_swept(app)


async def test_a_sweep_without_patience_is_caught(app, monkeypatch):
    monkeypatch.setattr("outlast.upkeep.forget.ORPHAN_AGE_US", 0)

    with pytest.raises(AssertionError):
        await test_only_what_is_old_and_unused_is_swept(app)


async def test_pruning_dead_letters_is_caught(app, monkeypatch):
    monkeypatch.setattr(
        "outlast.core.retention.DEFAULTS",
        dict.fromkeys(("completed", "cancelled", "discarded", "failed"), 30 * DAY),
    )

    with pytest.raises(AssertionError):
        await test_ended_jobs_go_after_thirty_days_and_dead_letters_stay(app)
