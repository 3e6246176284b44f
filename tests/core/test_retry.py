"""What follows an error: its own word, the nearest rule, or the backoff."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import transition
from outlast.core.errors import DriftError, InvalidInputError
from outlast.core.job import Lease
from outlast.core.limits import HOUR, SECOND
from outlast.core.retry import DEFAULT_BACKOFF, GIVE_UP, Backoff, Snooze, check_rules, course
from outlast.core.signals import GiveUp, Retry
from outlast.core.status import Status

SLOW = Backoff.constant("9s")
ERROR = {"type": "E", "message": "m", "retryable": True}


class Throttled(Exception):
    def __init__(self, status, **headers):
        self.response = SimpleNamespace(status_code=status, headers=headers)


def lease(attempt=4, max_attempts=4):
    return Lease(
        "id", "t", "q", "{}", 7, attempt, max_attempts, 0, 1, 0, None, False, None, "", "w", 0
    )


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_no_delay_is_over_its_cap_or_under_zero(attempt, dice):
    for backoff in (
        Backoff.exponential("1s", cap="10m"),
        Backoff.linear("7s", cap="10m"),
        Backoff.constant("10m", jitter=True),
    ):
        assert 0 <= backoff.delay_us(attempt, dice) <= 600 * SECOND


def test_each_curve_grows_as_its_name_says():
    exact = [
        [b.delay_us(n, 0.5) // SECOND for n in (1, 2, 3, 4)]
        for b in (
            Backoff.exponential("2s", factor=3, jitter=False),
            Backoff.linear("10s", jitter=False),
            Backoff.constant("5s"),
            Backoff.by(lambda attempt: attempt**3),
        )
    ]

    assert exact == [[2, 6, 18, 54], [10, 20, 30, 40], [5, 5, 5, 5], [1, 8, 27, 64]]


def test_the_rule_of_the_nearest_class_counts():
    rules = {Exception: GIVE_UP, LookupError: SLOW, KeyError: Snooze("1m")}

    assert not course(ValueError(), rules, DEFAULT_BACKOFF, 0).again
    assert course(IndexError(), rules, DEFAULT_BACKOFF, 0).backoff is SLOW
    snoozed = course(KeyError(), rules, DEFAULT_BACKOFF, 0)
    assert (snoozed.after_us, snoozed.counts) == (60 * SECOND, False)


def test_without_a_rule_the_backoff_of_the_task_counts():
    assert course(ValueError(), {}, SLOW, 0).backoff is SLOW


@pytest.mark.parametrize("error", [GiveUp("x"), DriftError("x"), InvalidInputError("x")])
def test_what_can_not_succeed_later_is_given_up_whatever_the_rules(error):
    assert not course(error, {Exception: SLOW}, SLOW, 0).again


def group(*errors):
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


@pytest.mark.parametrize("word", [GiveUp("x"), DriftError("x"), InvalidInputError("x")])
def test_who_gives_up_in_a_group_decides_for_all(word):
    held = group(ValueError(), ExceptionGroup("", [Retry(after=1), word]))

    assert not course(held, {ExceptionGroup: SLOW}, SLOW, 0).again


def test_the_longest_wait_in_a_group_counts_and_an_attempt_is_used_if_one_uses_it():
    waits = [Retry(after=3, counts=False), Retry(after=7, counts=False)]

    alone, beside = (course(group(*held), {}, SLOW, 0) for held in (waits, [*waits, OSError()]))

    assert (alone.after_us, alone.counts) == (7 * SECOND, False)
    assert (beside.after_us, beside.counts) == (7 * SECOND, True)


def test_the_rules_are_asked_for_each_of_a_group_unless_one_is_for_groups():
    held = group(KeyError(), ValueError())

    assert not course(held, {KeyError: GIVE_UP}, SLOW, 0).again
    assert course(held, {OSError: GIVE_UP}, SLOW, 0).backoff is SLOW
    for_groups = {KeyError: GIVE_UP, ExceptionGroup: SLOW}
    assert course(held, for_groups, DEFAULT_BACKOFF, 0).backoff is SLOW


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "wait"), [("120", 120), ("Thu, 01 Jan 1970 00:02:00 GMT", 60), ("soon", None)]
)
def test_the_wait_that_a_server_asks_for_is_kept(status, said, wait):
    error = Throttled(status, **{"retry-after": said})

    found = course(error, {}, SLOW, now_us=60 * SECOND)

    assert found.after_us == (None if wait is None else wait * SECOND)


def test_a_wait_counts_only_with_the_answers_that_mean_it():
    assert course(Throttled(500, **{"retry-after": "120"}), {}, SLOW, 0).after_us is None
    assert course(Throttled(429), {}, SLOW, 0).after_us is None


@pytest.mark.parametrize("after", ["soon", -1, "-5s", None])
def test_a_retry_that_can_not_be_read_is_refused_where_it_is_raised(after):
    with pytest.raises(InvalidInputError, match="after"):
        Retry(after=after)


@pytest.mark.parametrize("after", ["90s", 90, "90", "Thu, 01 Jan 1970 00:01:30 GMT"])
def test_a_retry_reads_durations_and_headers(after):
    assert Retry(after=after).delay_us(now_us=0) == 90 * SECOND


def test_a_wait_has_a_bound():
    assert Retry(after="9" * 40).delay_us(now_us=0) <= 3_660 * 24 * HOUR


def test_a_snooze_uses_up_no_attempt_even_the_last():
    change = transition.failed(
        lease(), ERROR, backoff=SLOW, dice=0.5, after_us=5 * SECOND, counts=False
    )

    assert (change.target, change.attempt) == (Status.SCHEDULED, 3)
    assert change.error is None


def test_a_failure_on_the_last_attempt_ends_the_job():
    assert transition.failed(lease(), ERROR, backoff=SLOW, dice=0.5).target is Status.FAILED


@pytest.mark.parametrize(
    "rules", [{"KeyError": GIVE_UP}, {KeyError: "later"}, {KeyError: Snooze("soon")}]
)
def test_a_wrong_rule_is_refused_when_the_task_is_registered(rules):
    with pytest.raises(InvalidInputError, match="on_error"):
        check_rules(rules)
