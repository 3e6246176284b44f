"""Folding a job's history gives its row: the check that nothing changed without being told."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from outlast.core.job import Event, JobRecord
from outlast.core.status import Status


@dataclass(frozen=True, slots=True)
class Folded:
    """The part of a row that the history determines."""

    status: Status
    attempt: int = 0
    token: int = 0
    lost: int = 0
    run: int = 1
    seq: int = 0
    cancel_requested_at: int | None = None
    finished_at: int | None = None


def evolve(state: Folded | None, event: Event) -> Folded:
    """Apply one event; total over every event type, unknown ones only move the sequence."""
    data = json.loads(event.data)
    if state is None:
        status = Status.SCHEDULED if data.get("delayed") else Status.PENDING
        return Folded(status, seq=event.seq)
    state = replace(state, seq=event.seq)
    match event.type:
        case "started":
            return replace(
                state, status=Status.PROCESSING, attempt=data["attempt"], token=data["token"]
            )
        case "retrying" | "heartbeat-lost":
            status = Status.SCHEDULED if data["delay_us"] else Status.PENDING
            used = data.get("attempts_used", state.attempt)
            return replace(state, status=status, attempt=used, lost=data.get("lost", state.lost))
        case "released":
            return replace(state, status=Status.PENDING, attempt=data["attempt"])
        case "recovered":
            return replace(state, attempt=data["attempt"], lost=0)
        case "due":
            return replace(state, status=Status.PENDING)
        case "scheduled":
            return replace(state, status=Status.SCHEDULED)
        case "cancelling":
            return replace(state, cancel_requested_at=event.at)
        case "completed" | "failed" | "cancelled":
            lost = state.lost + 1 if "reason" in data.get("error", {}) else state.lost
            return replace(state, status=Status(event.type), finished_at=event.at, lost=lost)
        case "redriven":
            return Folded(Status.PENDING, token=state.token, run=state.run + 1, seq=event.seq)
        case _:
            return state


def fold(events: Iterable[Event]) -> Folded | None:
    """Fold a whole history, oldest first."""
    state: Folded | None = None
    for event in events:
        state = evolve(state, event)
    return state


def of_row(row: JobRecord) -> Folded:
    """Take the same part from a row, to compare."""
    return Folded(
        row.status,
        row.attempt,
        row.token,
        row.lost,
        row.run,
        row.seq,
        row.cancel_requested_at,
        row.finished_at,
    )
