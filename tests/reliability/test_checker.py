"""The checker is silent on what is right, and names each broken promise that is planted."""

import json
from dataclasses import replace

import pytest

from outlast.core import transition as tr
from outlast.core.job import Event, Filter
from outlast.core.status import Status
from outlast.ledger.memory import MemoryLedger
from outlast.testing.checker import LAWS, Asked, Mark, Story, violations
from outlast.testing.scene import ALL, AT_ONCE, ERROR, NOW, TTL, claim, hire, job, job_id


async def true_story():
    """Live through a failure, a crash, a release, a redrive and a plain success."""
    ledger, asked, marks = MemoryLedger(), [], []
    await hire(ledger)
    (made,) = await ledger.insert([job(1, max_attempts=2)], now=NOW)
    asked += [Asked("accepted", made.id, request="r1")]
    for end in ("lost", "released", "failed"):
        (lease,) = await claim(ledger, now=NOW + 1)
        marks.append(Mark(lease.id, lease.token, "start"))
        change = {
            "lost": tr.lost(lease, reason="", at="", dice=0.0),
            "released": tr.released(lease),
            "failed": tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0),
        }[end]
        await ledger.commit([change], now=NOW + 1)
    await ledger.commit([tr.redriven(made.id, Status.FAILED)], now=NOW + 2)
    (lease,) = await claim(ledger, now=NOW + 3)
    marks += [Mark(lease.id, lease.token, what) for what in ("start", "effect", "end")]
    await ledger.commit([tr.completed(lease, "1")], now=NOW + 4)
    keyed = job(2, key="k", fingerprint="r2")
    for outcome in ("unknown", "accepted"):
        (made,) = await ledger.insert([keyed], now=NOW + 5)
        seen = made.id if outcome == "accepted" else None
        asked.append(Asked(outcome, seen, "k", "r2"))
    (lease,) = await claim(ledger, now=NOW + 6)
    marks += [Mark(lease.id, lease.token, what) for what in ("start", "effect", "end")]
    await ledger.commit([tr.completed(lease, "2")], now=NOW + 7)
    rows = {row.id: row for row in await ledger.find(Filter(), ALL)}
    histories = {name: await ledger.history(name) for name in rows}
    return Story(asked, rows, histories, marks, dict.fromkeys(rows, frozenset({"effect"})))


FIRST, SECOND = job_id(1), job_id(2)


def with_row(story, name, **fields):
    return replace(story, rows={**story.rows, name: replace(story.rows[name], **fields)})


def with_event(story, name, index, **fields):
    """Change the event at an index, or, past the end, add one."""
    events = list(story.histories[name])
    last = events[-1]
    if index == len(events):
        events.append(Event(0, name, last.seq + 1, "progress", last.at, "{}"))
    events[index] = replace(events[index], **fields)
    return replace(story, histories={**story.histories, name: events})


def without(things, name):
    return {key: value for key, value in things.items() if key != name}


def data(**values):
    return {"data": json.dumps(values)}


PLANTED = {
    "a job that is gone": ("I1", lambda s: replace(s, rows=without(s.rows, SECOND))),
    "a job that is stuck": ("I1", lambda s: with_row(s, SECOND, status=Status.PROCESSING)),
    "an effect that is missing": ("I1", lambda s: replace(s, marks=s.marks[:-2])),
    "a second ending": (
        "I2", lambda s: with_event(s, SECOND, len(s.histories[SECOND]), type="failed"),
    ),
    "a start after the end": (
        "I2",
        lambda s: with_event(
            s, SECOND, len(s.histories[SECOND]), type="started", **data(attempt=2, token=2)
        ),
    ),
    "another end than the row's": ("I2", lambda s: with_row(s, SECOND, status=Status.FAILED)),
    "an attempt too many": ("I3", lambda s: with_row(s, FIRST, max_attempts=1)),
    "an attempt that is skipped": (
        "I3", lambda s: with_event(s, SECOND, 1, **data(attempt=2, token=1)),
    ),
    "a claim of what is held": (
        "I4", lambda s: with_event(s, FIRST, 2, type="progress", **data()),
    ),
    "a token given twice": ("I4", lambda s: with_event(s, FIRST, 3, **data(attempt=2, token=1))),
    "a completion without a lease": (
        "I4", lambda s: with_event(s, SECOND, 1, type="progress", **data()),
    ),
    "code that ran without a claim": (
        "I4", lambda s: replace(s, marks=[*s.marks, Mark(SECOND, 9, "start")]),
    ),
    "code that ran twice under one claim": (
        "I4", lambda s: replace(s, marks=[*s.marks, Mark(SECOND, 1, "start")]),
    ),
    "two jobs of one key": (
        "I5", lambda s: replace(s, asked=[*s.asked, Asked("accepted", FIRST, "k", "r2")]),
    ),
    "a key of two requests": (
        "I5", lambda s: replace(s, asked=[*s.asked, Asked("accepted", SECOND, "k", "r3")]),
    ),
    "a job of the key that nobody was told": ("I5", lambda s: with_row(s, FIRST, key="k")),
    "a gap in the history": ("I10", lambda s: with_event(s, FIRST, 1, seq=9)),
    "a row that no event explains": ("I10", lambda s: with_row(s, FIRST, attempt=2)),
    "a clock that went back": ("I10", lambda s: with_event(s, SECOND, 1, at=NOW - TTL)),
    "an accepted job in no state": ("I24", lambda s: replace(s, rows=without(s.rows, FIRST))),
    "a job that nobody asked for": (
        "I24", lambda s: replace(s, asked=[one for one in s.asked if one.id != FIRST][:-1]),
    ),
}  # fmt: skip


async def test_what_is_right_is_not_accused():
    assert violations(await true_story()) == []


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_violation_is_named(name):
    number, plant = PLANTED[name]

    found = violations(plant(await true_story()), [number])

    assert found
    assert all(line.startswith(f"{number}: ") for line in found)


def test_every_law_has_a_violation_that_proves_it():
    assert {number for number, _ in PLANTED.values()} == set(LAWS)
