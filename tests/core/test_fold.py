"""The history of any life of a job folds to its row."""

import json

from hypothesis import given
from hypothesis import strategies as st

from outlast.core import transition
from outlast.core.fold import Folded, evolve, fold
from outlast.core.job import Event, Lease
from outlast.core.limits import LOST_MAX
from outlast.core.retry import Backoff
from outlast.core.status import ARROWS, Status

NOW = 1_000


class Row:
    """The least row that transitions apply to: what any ledger must do."""

    def __init__(self, most, *, delayed):
        self.most = most
        self.state = Folded(Status.SCHEDULED if delayed else Status.PENDING, seq=1)
        self.events = [Event(0, "j", 1, "submitted", 0, json.dumps({"delayed": delayed}))]

    def _set(self, type_, data, **change):
        values = {**{n: getattr(self.state, n) for n in Folded.__slots__}, **change}
        values["seq"] += 1
        target = values["status"]
        assert target is self.state.status or target in ARROWS[self.state.status]
        self.state = Folded(**values)
        self.events.append(Event(0, "j", values["seq"], type_, NOW, data))

    def claim(self):
        attempt, token = self.state.attempt + 1, self.state.token + 1
        data = json.dumps({"attempt": attempt, "token": token})
        self._set("started", data, status=Status.PROCESSING, attempt=attempt, token=token)

    def apply(self, change):
        asked = self.state.cancel_requested_at
        if change is None or change.source is not self.state.status:
            return
        if change.unless_cancelled and asked is not None:
            return
        values = {name: getattr(change, name) for name in ("attempt", "lost")}
        values = {name: value for name, value in values.items() if value is not None}
        if change.target is not None:
            values["status"] = change.target
            if change.target.terminal:
                values["finished_at"] = NOW
        if change.cancel:
            values["cancel_requested_at"] = NOW
        if change.rerun:
            values |= {"run": self.state.run + 1, "finished_at": None, "cancel_requested_at": None}
        self._set(change.event, change.data, **values)

    def lease(self):
        s = self.state
        asked = s.cancel_requested_at is not None
        return Lease(
            "j", "t", "q", "{}", s.token, s.attempt, self.most, s.lost, s.run, 0, None, asked,
            None, "", "w", 0,
        )  # fmt: skip


DEEDS = st.lists(
    st.sampled_from(
        [
            "claim",
            "due",
            "complete",
            "fail",
            "hopeless",
            "crash",
            "crash for free",
            "lost",
            "recover",
            "release",
            "log",
            "cancel",
            "cancelled",
            "redrive",
            "discard",
        ]
    ),
    max_size=60,
)


def change_for(deed, row, delay):
    lease = row.lease()
    match deed:
        case "due":
            return transition.Transition("j", Status.SCHEDULED, None, Status.PENDING, "due")
        case "complete":
            return transition.completed(lease, None)
        case "fail" | "hopeless":
            error = {"type": "E", "retryable": deed == "fail"}
            return transition.failed(lease, error, backoff=Backoff(), dice=0.5, after_us=delay)
        case "crash" | "crash for free":
            error, counts = {"type": "E", "retryable": True}, deed == "crash"
            return transition.failed(
                lease, error, backoff=Backoff(), dice=0.5, after_us=delay, counts=counts,
                crashed=True,
            )  # fmt: skip
        case "lost":
            return transition.lost(lease, reason="r", at="t", dice=0.5)
        case "recover":
            return transition.recovered(lease)
        case "release":
            return transition.released(lease)
        case "log":
            return transition.amended(lease, "log", "{}")
        case "cancel":
            return transition.cancel("j", row.state.status, reason="r")
        case "cancelled":
            return transition.cancelled(lease, "r")
        case "redrive":
            return transition.redriven("j", row.state.status)
        case _:
            return transition.discarded("j", "r")


@given(DEEDS, st.integers(1, 5), st.booleans(), st.sampled_from([0, 5]))
def test_folding_any_life_gives_its_row_and_attempts_never_exceed_their_bound(
    deeds, most, delayed, delay
):
    row = Row(most, delayed=delayed)
    for deed in deeds:
        if deed == "claim":
            if row.state.status is Status.PENDING:
                row.claim()
        else:
            row.apply(change_for(deed, row, delay))
        assert row.state.attempt <= most
        assert row.state.lost <= LOST_MAX
        assert fold(row.events) == row.state


@given(st.text(min_size=1), st.integers(2, 100))
def test_an_unknown_event_only_moves_the_sequence(type_, seq):
    state = Folded(Status.COMPLETED, seq=1)
    event = Event(0, "j", seq, f"x-{type_}", 0, "{}")

    assert evolve(state, event) == Folded(Status.COMPLETED, seq=seq)


def test_no_history_folds_to_nothing():
    assert fold([]) is None
