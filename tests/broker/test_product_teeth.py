"""The laws of workers on a broker have teeth: each planted bug makes a named law fail."""

from functools import partial

import pytest

from outlast.broker.publisher import Publisher
from outlast.broker.relayed import Relayed
from outlast.upkeep.relay import Relay
from outlast.worker.intake import Tickets
from outlast.worker.lane import Lane
from tests.broker import test_product as laws


async def _always(*_):
    return True


async def _never(*_):
    pass


def _owes_nothing(self, claimed, *, all_asked):
    hand, self._hand = self._hand, []
    self._pay(hand, rest_is_wanted=False)


def _holds_while_it_runs(self, tickets, *, rest_is_wanted):
    self._stirred.set()


def _goes_on_receiving(self):
    pass


MUTANTS = {
    "publishes nothing": (
        (Publisher, "give", lambda *_: None),
        laws.test_a_ticket_wakes_a_waiting_worker_at_once,
    ),
    "owes nothing": (
        (Lane, "took", _owes_nothing),
        laws.test_a_worker_takes_away_as_many_tickets_as_it_claimed_jobs,
    ),
    "receives without room": (
        (Lane, "rest", _goes_on_receiving),
        partial(laws.test_a_worker_without_room_leaves_tickets_to_others, ledger="bare"),
    ),
    "holds tickets while jobs run": (
        (Lane, "_pay", _holds_while_it_runs),
        laws.test_no_ticket_is_held_while_a_job_runs,
    ),
    "looks only when it is told": (
        (Tickets, "look", lambda _: None),
        laws.test_a_freed_limit_is_used_at_once_by_who_freed_it,
    ),
    "tells nothing of commits": (
        (Relayed, "_tell", _never),
        laws.test_a_job_that_is_tried_again_at_once_or_falls_due_gets_a_ticket,
    ),
    "every node relays": (
        (Relay, "_is_mine", _always),
        laws.test_another_node_relays_when_the_one_that_did_is_gone,
    ),
}


@pytest.mark.parametrize(("bug", "law"), MUTANTS.values(), ids=MUTANTS)
def test_a_planted_bug_is_caught(monkeypatch, bug, law):
    monkeypatch.setattr(*bug)

    with pytest.raises(AssertionError):
        law()
