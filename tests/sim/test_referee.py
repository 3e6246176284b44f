"""The referee has teeth: each planted violation is named, and a clean life is not."""

import json
from dataclasses import replace

import pytest

from outlast.core import transition as tr
from outlast.core.job import NewJob, Want
from outlast.core.retry import Backoff
from outlast.core.status import Status
from outlast.ledger.memory import MemoryLedger
from outlast.testing.sim.loop import START_US
from outlast.testing.sim.port import watched
from outlast.testing.sim.referee import Referee

JOB = "00000000-0000-7000-8000-000000000001"
SECOND = 1_000_000
ERROR = {"type": "E", "message": "m", "retryable": True}


class Wound:
    """A clock that is moved by hand."""

    us = START_US

    def now_us(self):
        return self.us

    def elapsed_us(self):
        return self.us


class Scene:
    """A watched ledger, one worker on it, and one job."""

    def __init__(self):
        self.referee = Referee()
        self.clock = Wound()
        self.ledger = watched(MemoryLedger, self.clock, self.referee)

    async def claim(self, holder="w1", **job):
        await self.ledger.put("worker", holder, "{}", ttl_us=30 * SECOND)
        await self.ledger.insert([NewJob(id=JOB, task="t", **job)])
        (lease,) = await self.ledger.claim(Want(holder, ("default",), 1))
        return lease

    async def commit(self, *changes):
        verdicts = await self.ledger.commit(changes)
        assert all(verdict.accepted for verdict in verdicts)

    def plant(self, type_, data="{}", **row):
        """Write an event and a row that no transition would make."""
        changed = replace(self.ledger._jobs[JOB], **row)
        changed = replace(changed, seq=row.get("seq", changed.seq + 1))
        self.ledger._append(changed, type_, self.clock.us, data)

    async def end(self, held=()):
        self.referee.end(list(self.ledger._jobs.values()), held)
        return self.referee.faults


@pytest.fixture
def scene():
    return Scene()


async def test_a_life_without_fault_is_blamed_for_nothing(scene):
    first = await scene.claim()
    scene.referee.accepted(JOB, "key")
    scene.referee.began(JOB, first.token)
    scene.referee.item(JOB, first.token, 0, every=2)
    await scene.commit(tr.failed(first, ERROR, backoff=Backoff(), dice=0.5))
    scene.clock.us += 60 * SECOND
    await scene.ledger.extend(["w1"], 30 * SECOND)
    await scene.commit(tr.due(scene.ledger._jobs[JOB]))
    (second,) = await scene.ledger.claim(Want("w1", ("default",), 1))
    run = scene.referee.run_of(JOB)
    await scene.commit(tr.cancel(JOB, Status.PROCESSING, reason="r"))
    scene.referee.answered(JOB, "cancelling", run)
    await scene.commit(tr.cancelled(second, "r", killed=True))
    scene.referee.answered(JOB, "killed", run)

    assert await scene.end() == []


def started(**said):
    return json.dumps({"attempt": 1, "token": 1, "worker": "w1", **said})


PLANTED = {
    "a stale completion": (
        "I4: written under token 0",
        lambda s: s.plant("completed", status=Status.COMPLETED, result="0", holder=None,
                          finished_at=s.clock.us),
    ),
    "a stale log line": (
        "I4: written under token 0",
        lambda s: s.plant("log", '{"fields": {"token": 0}}'),
    ),
    "a gap in the history": ("I10: the history says", lambda s: s.plant("progress", attempt=2)),
    "a number left out": ("I10: expected number 3", lambda s: s.plant("progress", seq=4)),
    "an event in the past": (
        "I10: it is told of",
        lambda s: (setattr(s.clock, "us", START_US - 1), s.plant("progress")),
    ),
    "a second claim": (
        "I2: no arrow leads from completed",
        lambda s: (
            s.plant("completed", status=Status.COMPLETED, result="1", holder=None,
                    finished_at=s.clock.us),
            s.plant("started", started(token=2), token=2, status=Status.PROCESSING),
        ),
    ),
    "a word after the end": (
        "I2: the job had ended as completed",
        lambda s: (
            s.plant("completed", status=Status.COMPLETED, result="1", holder=None,
                    finished_at=s.clock.us),
            s.plant("progress"),
        ),
    ),
    "a token twice": (
        "I4: token 1 after 1",
        lambda s: (
            s.plant("released", '{"attempt": 0}', attempt=0, status=Status.PENDING, holder=None),
            s.plant("started", started(), attempt=1, status=Status.PROCESSING, holder="w1"),
        ),
    ),
    "an attempt too many": (
        "I3: attempt 5 of 4",
        lambda s: (
            s.plant("released", '{"attempt": 4}', attempt=4, status=Status.PENDING, holder=None),
            s.plant("started", started(attempt=5, token=2), attempt=5, token=2,
                    status=Status.PROCESSING, holder="w1"),
        ),
    ),
    "a give-back that costs": (
        "I3: given back after 1 attempts, it has 1",
        lambda s: s.plant("released", '{"attempt": 1}', status=Status.PENDING, holder=None),
    ),
    "too many losses": ("I3: lost 9 times", lambda s: s.plant("progress", lost=9)),
    "a start after a cancel": (
        "I14: it was asked to stop",
        lambda s: (
            s.plant("cancelling", cancel_requested_at=s.clock.us),
            s.plant("released", '{"attempt": 0}', attempt=0, status=Status.PENDING, holder=None),
            s.plant("started", started(token=2), attempt=1, token=2, status=Status.PROCESSING,
                    holder="w1"),
        ),
    ),
    "a start before its time": (
        "I13: 5 s too early",
        lambda s: (
            s.plant("retrying", '{"delay_us": 5000000}', status=Status.SCHEDULED, holder=None),
            s.plant("due", status=Status.PENDING),
        ),
    ),
    "an end before its time": (
        "I13: expired 5 s too early",
        lambda s: s.plant("cancelled", '{"reason": "expired"}', status=Status.CANCELLED,
                          holder=None, finished_at=s.clock.us, expires_at=s.clock.us + 5 * SECOND),
    ),
    "a false rescue": (
        "I17: rescued 30 s before",
        lambda s: s.plant("heartbeat-lost", '{"delay_us": 0, "lost": 1}', lost=1,
                          status=Status.PENDING, holder=None),
    ),
    "a renewal by the dead": (
        "given up for dead and renews",
        lambda s: (s.referee.gave_up("w1"), s.referee.renewed("w1", START_US)),
    ),
    "a claim by the dead": (
        "claims, and was given up for dead",
        lambda s: (
            s.plant("released", '{"attempt": 0}', attempt=0, status=Status.PENDING, holder=None),
            s.referee.gave_up("w1"),
            s.plant("started", started(token=2), attempt=1, token=2, status=Status.PROCESSING,
                    holder="w1"),
        ),
    ),
    "a step twice": (
        "steps: a was recorded before",
        lambda s: [s.plant("step", '{"name": "a", "result": 1}') for _ in "12"],
    ),
    "two jobs for one key": (
        "I5: key k names",
        lambda s: (s.referee.accepted(JOB, "k"), s.referee.accepted("other", "k")),
    ),
    "a wrong answer": (
        "answered too-late, but the history is",
        lambda s: s.referee.answered(JOB, "too-late", 1),
    ),
    "code under no token": (
        "which nobody gave out", lambda s: s.referee.began(JOB, 2),
    ),
    "code twice under a token": (
        "runs twice under token 1", lambda s: [s.referee.began(JOB, 1) for _ in "12"],
    ),
    "items left out": (
        "skips from item 0 to 3",
        lambda s: (s.referee.item(JOB, 1, 0, 2), s.referee.item(JOB, 2, 3, 2)),
    ),
    "items done over and over": (
        "repeats items 0 to 5",
        lambda s: ([s.referee.item(JOB, 1, n, 2) for n in range(6)], s.referee.item(JOB, 2, 0, 2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_violation_is_named(scene, name):
    expected, plant = PLANTED[name]
    await scene.claim()
    assert scene.referee.faults == []

    plant(scene)

    assert any(expected in fault for fault in scene.referee.faults), scene.referee.faults


async def test_what_is_left_at_the_end_is_named(scene):
    await scene.claim()
    scene.referee.accepted("gone", None)

    faults = "\n".join(await scene.end(held=["a timer"]))

    for expected in (
        "I24: job gone was accepted and is gone",
        "has not ended: it is processing",
        "is still held by w1",
        "ended 0 times",
        "still held at the end: a timer",
    ):
        assert expected in faults


async def test_a_row_that_vanished_is_named(scene):
    await scene.claim()
    del scene.ledger._jobs[JOB]

    assert "I24: the rows are not those of the history" in await scene.end()
