"""Judges what happened under faults, from three records that know nothing of each other.

What clients were told, what the jobs' own code witnessed, and the ledger's histories and rows:
where they contradict each other, or a promise, `violations` says so. Pure, so that it can judge
the records of a simulation, of real processes or of production alike.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from outlast.core.fold import fold, of_row
from outlast.core.job import Event, JobRecord
from outlast.core.status import Status

ENDS: Final = frozenset({"completed", "failed", "cancelled"})
# What may be said of a job that has ended, until a redrive begins its next run.
_AFTERWARDS: Final = frozenset({"discarded", "redriven"})
_BACK: Final = frozenset({"retrying", "heartbeat-lost", "released"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One submit as its client saw it; an answer that never came is `unknown`, not a failure."""

    outcome: Literal["accepted", "refused", "unknown"]
    id: str | None = None
    key: str | None = None
    request: str = ""  # equal for equal requests
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of the witness, which a job's code appends to whatever becomes of its lease."""

    job: str
    token: int
    what: str  # "start", "end", or the name of an effect


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is known of a test run, read when all is quiet again."""

    asked: Sequence[Asked]
    rows: Mapping[str, JobRecord]
    histories: Mapping[str, Sequence[Event]]
    marks: Sequence[Mark] = ()
    effects: Mapping[str, frozenset[str]] = field(default_factory=dict)  # due of each job


Law = Callable[[Story], Iterator[str]]


def violations(story: Story, laws: Iterable[str] | None = None) -> list[str]:
    """Return what contradicts the promises, each with the invariant's number in front."""
    chosen = LAWS if laws is None else {name: LAWS[name] for name in laws}
    return [f"{name}: {what}" for name, law in chosen.items() for what in law(story)]


def read_marks(text: str) -> list[Mark]:
    """Read a witness file: a job's ID, its token and what it did on each line, by spaces."""
    split = (line.split(" ", 2) for line in text.splitlines())
    return [Mark(job, int(token), what) for job, token, what in split]


def _data(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.data)
    return found


def _accepted(story: Story) -> set[str]:
    return {one.id for one in story.asked if one.outcome == "accepted" and one.id is not None}


def _every_accepted_job_ends(story: Story) -> Iterator[str]:
    for job in sorted(_accepted(story)):
        row = story.rows.get(job)
        if row is None:
            yield f"job {job} was accepted and is gone"
        elif not row.status.terminal:
            yield f"job {job} was accepted and is still {row.status}"
    for job, due in story.effects.items():
        if job in story.rows and story.rows[job].status is Status.COMPLETED:
            missing = due - {mark.what for mark in story.marks if mark.job == job}
            if missing:
                yield f"job {job} completed without {len(missing)} effects: {sorted(missing)[:3]}"


def _every_run_ends_once(story: Story) -> Iterator[str]:
    for job, events in story.histories.items():
        ended: str | None = None
        for event in events:
            if ended is not None and event.type not in _AFTERWARDS:
                yield f"job {job} was {ended} and then {event.type} (event {event.seq})"
            if event.type in ENDS:
                ended = event.type
            elif event.type == "redriven":
                ended = None
        row = story.rows.get(job)
        if row is not None and ended != (row.status.value if row.status.terminal else None):
            yield f"job {job} is {row.status}, and its history says {ended or 'not ended'}"


def _attempts_are_counted(story: Story) -> Iterator[str]:
    for job, events in story.histories.items():
        most = story.rows[job].max_attempts if job in story.rows else None
        used = 0
        for event in events:
            data = _data(event)
            if event.type == "started":
                if data["attempt"] != used + 1:
                    yield f"job {job} started attempt {data['attempt']} after {used} used ones"
                used = data["attempt"]
                if most is not None and used > most:
                    yield f"job {job} started attempt {used} of {most}"
            elif event.type == "redriven":
                used = 0
            elif event.type in {"released", "recovered"}:
                used = data["attempt"]
            elif event.type == "retrying":
                used = data.get("attempts_used", used)


def _leases_are_fenced(story: Story) -> Iterator[str]:
    for job, events in story.histories.items():
        granted, is_held = 0, False
        for event in events:
            if event.type == "started":
                token = _data(event)["token"]
                if is_held:
                    yield f"job {job} was claimed with token {token} while {granted} held it"
                if token != granted + 1:
                    yield f"job {job} was claimed with token {token} after {granted}"
                granted, is_held = token, True
            elif event.type == "completed" and not is_held:
                yield f"job {job} was completed by nobody who held it (event {event.seq})"
            if event.type in ENDS or event.type in _BACK:
                is_held = False
    yield from _witnessed_without_a_claim(story)


def _witnessed_without_a_claim(story: Story) -> Iterator[str]:
    claims = {
        (job, _data(event)["token"])
        for job, events in story.histories.items()
        for event in events
        if event.type == "started"
    }
    for mark in sorted({(m.job, m.token) for m in story.marks} - claims):
        yield f"job {mark[0]} ran with token {mark[1]}, which no claim gave out"
    starts = Counter((m.job, m.token) for m in story.marks if m.what == "start")
    for (job, token), times in starts.items():
        if times > 1:
            yield f"job {job} started {times} times with token {token}"


def _a_key_is_one_job(story: Story) -> Iterator[str]:
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    requests: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in story.asked:
        if one.key is not None and one.outcome == "accepted" and one.id is not None:
            known[one.tenant, one.key].add(one.id)
            requests[one.tenant, one.key].add(one.request)
    for row in story.rows.values():
        # The one that an unheard answer made is found by its key, too.
        if row.key is not None and any(
            (one.tenant, one.key) == (row.tenant, row.key) for one in story.asked
        ):
            known[row.tenant, row.key].add(row.id)
    for (_, key), ids in known.items():
        if len(ids) > 1:
            yield f"key {key!r} stands for {len(ids)} jobs: {sorted(ids)}"
    for (_, key), said in requests.items():
        if len(said) > 1:
            yield f"key {key!r} was accepted with {len(said)} different requests"


def _history_tells_the_row(story: Story) -> Iterator[str]:
    for job, row in story.rows.items():
        events = story.histories.get(job, ())
        if [event.seq for event in events] != list(range(1, row.seq + 1)):
            yield f"job {job} has a gap in its {len(events)} events of {row.seq}"
        elif fold(events) != of_row(row):
            yield f"job {job}: its history folds to {fold(events)}, its row is {of_row(row)}"
        times = [event.at for event in events]
        if times != sorted(times):
            yield f"job {job}: time went back in its history"


def _nothing_is_lost_or_made_up(story: Story) -> Iterator[str]:
    """Every job somebody was told of is there, and no other, but for what unheard answers made."""
    accepted = _accepted(story)
    unknown = sum(one.outcome == "unknown" for one in story.asked)
    if lost := accepted - set(story.rows):
        yield f"{len(lost)} of {len(accepted)} accepted jobs are in no state at all"
    made_up = len(set(story.rows) - accepted)
    if made_up > unknown:
        yield f"{made_up} jobs were accepted by nobody's account, with {unknown} unheard answers"


LAWS: Final[Mapping[str, Law]] = {
    "I1": _every_accepted_job_ends,
    "I2": _every_run_ends_once,
    "I3": _attempts_are_counted,
    "I4": _leases_are_fenced,
    "I5": _a_key_is_one_job,
    "I10": _history_tells_the_row,
    "I24": _nothing_is_lost_or_made_up,
}
