"""The referee: sees every event as it is written, and says which promise is broken.

It knows nothing of the engine: it is fed with rows, events and answers, and keeps its own books.
The numbers in the messages are those of the decision record on the seeded simulator.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from outlast.core.fold import Folded, evolve, of_row
from outlast.core.job import Event, JobRecord
from outlast.core.limits import LOST_MAX, SECOND
from outlast.core.status import ARROWS, Status

_ENDS = frozenset({"completed", "failed", "cancelled"})
_AFTER_THE_END = frozenset({"redriven", "discarded"})
_RESCUES = frozenset({"WorkerLost"})


@dataclass(slots=True)
class _Book:
    """What is known of one job."""

    state: Folded | None = None
    row: JobRecord | None = None
    due: int = 0  # it must not start before that
    runs: list[list[Event]] = field(default_factory=lambda: [[]])
    settled: set[int] = field(default_factory=set)  # the tokens that have ended
    began: set[int] = field(default_factory=set)  # the tokens whose code was started
    steps: set[str] = field(default_factory=set)
    items: dict[int, int] = field(default_factory=dict)  # the furthest item of each token


class Referee:
    """Judges one history while it is written; `faults` lists what was found."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.tally: Counter[str] = Counter()
        self._books: dict[str, _Book] = defaultdict(_Book)
        self._leases: dict[str, int] = {}  # by holder: until when; 0 for the given up
        self._keys: dict[str, str] = {}
        self._acknowledged: dict[str, None] = {}
        self._last_at = 0

    def blame(self, what: str) -> None:
        """Note a broken promise."""
        self.faults.append(what)

    @property
    def open(self) -> int:
        """How many jobs have not ended."""
        return sum(not b.row.status.terminal for b in self._books.values() if b.row is not None)

    # What the ledger does ------------------------------------------------------------------------

    def see(self, row: JobRecord, event: Event) -> None:
        """Judge an event together with the row that it left."""
        book = self._books[row.id]
        before, name = book.state, f"job {row.id[-6:]}, event {event.seq} {event.type}"
        self.tally[event.type] += 1
        problems = [
            *self._clock(event),
            *self._arrow(book, row, event),
            *self._lease(book, row, event),
            *self._attempt(before, row, event),
            *self._time(book, row, event),
            *_author(row, event),
            *_step(book, event),
        ]
        after = evolve(before, event)
        if after != of_row(row):
            problems.append(f"I10: the history says {after}, the row says {of_row(row)}")
        for problem in problems:
            self.blame(f"{name}: {problem}")
        if event.type == "redriven":
            book.runs.append([])
        book.runs[-1].append(event)
        book.state, book.row = after, row

    def _clock(self, event: Event) -> Iterable[str]:
        if event.at < self._last_at:
            yield f"I10: it is told of {event.at}, after {self._last_at}"
        self._last_at = event.at

    def _arrow(self, book: _Book, row: JobRecord, event: Event) -> Iterable[str]:
        before = book.state
        if before is None:
            if event.seq != 1 or event.type != "submitted":
                yield "I10: a history starts with 1 submitted"
            return
        if event.seq != before.seq + 1:
            yield f"I10: expected number {before.seq + 1}"
        moved = row.status is not before.status
        if moved and row.status not in ARROWS[before.status]:
            yield f"I2: no arrow leads from {before.status} to {row.status}"
        if before.status.terminal and event.type not in _AFTER_THE_END:
            yield f"I2: the job had ended as {before.status}"
        if before.status is Status.PROCESSING and moved:
            if before.token in book.settled:
                yield f"I4: token {before.token} was settled before"
            book.settled.add(before.token)

    def _attempt(self, before: Folded | None, row: JobRecord, event: Event) -> Iterable[str]:
        if before is None:
            return
        if row.lost > LOST_MAX:
            yield f"I3: lost {row.lost} times, at most {LOST_MAX} are borne"
        if event.type == "started":
            if row.attempt != before.attempt + 1 or row.attempt > row.max_attempts:
                yield f"I3: attempt {row.attempt} of {row.max_attempts} after {before.attempt}"
            if row.token != before.token + 1:
                yield f"I4: token {row.token} after {before.token}"
            if before.cancel_requested_at is not None:
                yield "I14: it was asked to stop, and started again"
        elif event.type == "released" and row.attempt != before.attempt - 1:
            yield f"I3: given back after {before.attempt} attempts, it has {row.attempt}"

    def _time(self, book: _Book, row: JobRecord, event: Event) -> Iterable[str]:
        if event.type in {"due", "started"} and event.at < book.due:
            yield f"I13: {(book.due - event.at) / SECOND:g} s too early"
        reason = json.loads(event.data).get("reason")
        if event.type == "cancelled" and reason == "expired" and event.at < (row.expires_at or 0):
            yield f"I13: expired {((row.expires_at or 0) - event.at) / SECOND:g} s too early"
        match event.type:
            case "submitted" | "scheduled":
                book.due = row.run_at
            case "retrying" | "heartbeat-lost":
                book.due = event.at + json.loads(event.data)["delay_us"]
            case "released" | "redriven":
                book.due = event.at
            case _:
                pass

    def _lease(self, book: _Book, row: JobRecord, event: Event) -> Iterable[str]:
        if event.type == "started" and not self._leases.get(row.holder or "", 0):
            yield f"I4: worker {row.holder} claims, and was given up for dead"
        holder = None if book.row is None else book.row.holder
        if holder is not None and _is_rescue(event):
            self.tally["rescue"] += 1
            until = self._leases.get(holder, 0)
            if until > event.at:
                yield f"I17: rescued {(until - event.at) / SECOND:g} s before the lease was over"
            self._leases[holder] = 0

    def renewed(self, holder: str, until: int) -> None:
        """Note that a worker registered, or renewed its lease."""
        if self._leases.get(holder) == 0:
            self.blame(f"I4: worker {holder[-6:]} was given up for dead and renews its lease")
        self._leases[holder] = until

    def gave_up(self, holder: str) -> None:
        """Note that a worker's lease was given up, or laid down."""
        if holder in self._leases:  # else it has not registered yet, and still may
            self._leases[holder] = 0

    # What clients are told -----------------------------------------------------------------------

    def accepted(self, job_id: str, key: str | None) -> None:
        """Note that a submit was answered with this job."""
        self._acknowledged[job_id] = None
        if key is not None and self._keys.setdefault(key, job_id) != job_id:
            self.blame(f"I5: key {key} names job {self._keys[key]} and job {job_id}")

    def run_of(self, job_id: str) -> int:
        """Return in which run a job is, to say it with an answer."""
        return len(self._books[job_id].runs)

    def answered(self, job_id: str, answer: str, run: int) -> None:
        """Judge the answer to a cancel that was asked for in this run."""
        self.tally[f"answered {answer}"] += 1
        events = [e for events in self._books[job_id].runs[run - 1 :] for e in events]
        ends = [e for e in events if e.type in _ENDS]
        killed = any(_data(e).get("outcome") == "killed" for e in ends)
        true = {
            "cancelled": any(e.type == "cancelled" for e in ends),
            "killed": killed,
            "cancelling": any(e.type == "cancelling" for e in events),
            "too-late": any(e.type in {"completed", "failed"} for e in ends),
        }
        if not true[answer]:
            told = ", ".join(e.type for e in events)
            self.blame(f"I14: job {job_id[-6:]}: answered {answer}, but the history is: {told}")

    # What the code of a job does -----------------------------------------------------------------

    def began(self, job_id: str, token: int) -> None:
        """Note that an attempt's code was started."""
        book = self._books[job_id]
        if book.row is None or token > book.row.token:
            self.blame(f"I4: job {job_id[-6:]} runs under token {token}, which nobody gave out")
        if token in book.began:
            self.blame(f"I4: job {job_id[-6:]} runs twice under token {token}")
        book.began.add(token)

    def item(self, job_id: str, token: int, index: int, every: int) -> None:
        """Note that an attempt has begun an item of a resumable loop."""
        items = self._books[job_id].items
        reached = max((last for other, last in items.items() if other < token), default=-1)
        if token not in items and index > reached + 1:
            self.blame(f"resume: job {job_id[-6:]} skips from item {reached} to {index}")
        if token not in items and index < reached + 1 - every:
            self.blame(f"resume: job {job_id[-6:]} repeats items {index} to {reached}")
        items[token] = max(index, items.get(token, -1))

    # The end -------------------------------------------------------------------------------------

    def end(self, rows: Iterable[JobRecord], held: Iterable[str]) -> None:
        """Judge what is left when everything has stopped."""
        left = {row.id: row for row in rows}
        for job_id in self._acknowledged:
            if job_id not in left:
                self.blame(f"I24: job {job_id} was accepted and is gone")
        if left.keys() != {job_id for job_id, book in self._books.items() if book.row is not None}:
            self.blame("I24: the rows are not those of the history")
        for row in left.values():
            if not row.status.terminal:
                self.blame(f"I1: job {row.id[-6:]} {row.task} has not ended: it is {row.status}")
            if row.holder is not None:
                self.blame(f"I1: job {row.id[-6:]} is still held by {row.holder}")
        ends: Counter[str] = Counter()
        for job_id, book in self._books.items():
            for events in book.runs:
                ends[job_id] += sum(event.type in _ENDS for event in events)
            if book.row is not None and ends[job_id] != len(book.runs):
                self.blame(f"I2: job {job_id[-6:]} ended {ends[job_id]} times")
        for what in held:
            self.blame(f"still held at the end: {what}")


def _data(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.data)
    return found


def _is_rescue(event: Event) -> bool:
    if event.type == "heartbeat-lost":
        return True
    data = _data(event)
    if event.type == "failed":
        return data["error"].get("type") in _RESCUES
    return event.type == "cancelled" and "worker was lost" in data.get("reason", "")


def _author(row: JobRecord, event: Event) -> Iterable[str]:
    """See whose work it is: what an attempt writes bears its token, and no older one gets in."""
    data, by = _data(event), None
    match event.type:
        case "completed":
            by = json.loads(row.result or "null")
        case "step":
            by = data["result"]
        case "log":
            by = data["fields"].get("token")
        case _:
            return
    if by is not None and by != row.token:
        yield f"I4: written under token {by}, the job is at token {row.token}"


def _step(book: _Book, event: Event) -> Iterable[str]:
    if event.type != "step":
        return
    name = _data(event)["name"]
    if name in book.steps:
        yield f"steps: {name} was recorded before"
    book.steps.add(name)
