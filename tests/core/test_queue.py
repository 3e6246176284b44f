"""What is said of a queue at run time goes over what is configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core.errors import InvalidInputError
from outlast.core.queue import QueueRules, Rate, rate_of


@given(st.integers(1, 10**9 - 1), st.integers(1, 10**6), st.sampled_from("smhd"))
def test_a_rate_is_written_as_it_is_read(count, times, unit):
    rate = rate_of(f"{count}/{times}{unit}")

    assert rate_of(str(rate)) == rate


@pytest.mark.parametrize("wrong", ["", "10", "10/", "/s", "0/s", "1/0s", "-1/s", "1.5/s", 10, None])
def test_what_is_no_rate_is_refused_by_name(wrong):
    with pytest.raises(InvalidInputError, match=r"^speed: expected a rate such as"):
        rate_of(wrong, field="speed")


def test_what_is_said_at_run_time_counts_and_null_takes_a_rule_away():
    configured = QueueRules.read({"max_depth": 5, "rate_limit": "1/s", "worker_count": 2})

    now = configured.changed({"max_depth": None, "worker_count": 7, "paused": True})

    assert (now.max_depth, now.worker_count, now.paused) == (None, 7, True)
    assert now.rate_limit == Rate(1, 1_000_000)


def test_a_wall_is_refused_at_run_time_where_it_would_hold_nothing():
    isolated = QueueRules.read({"isolation": "process", "memory": "1GB"})

    assert isolated.told_to({"memory": "2GB"}).memory == 2 << 30
    assert isolated.told_to({"isolation": None, "memory": None}).confines is False
    assert QueueRules().told_to({"isolation": "process", "cpu_time": 5}).cpu_us == 5_000_000
    for rules, said in (
        (QueueRules(), {"memory": "2GB"}),
        (isolated, {"isolation": None, "memory": "2GB"}),
        (isolated, {"isolation": "none", "max_files": 64}),
    ):
        with pytest.raises(InvalidInputError, match="expected only with isolation: process"):
            rules.told_to(said)


def test_what_a_newer_version_said_harms_nobody():
    assert QueueRules().changed({"max_depth": 1, "colour": "green"}).max_depth == 1


def test_a_queue_that_is_drained_admits_nothing():
    assert QueueRules(max_depth=5).admits == 5
    assert QueueRules(max_depth=5, draining=True).admits == 0
    assert QueueRules().admits is None
