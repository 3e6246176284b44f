"""The rate and the time left are steady, never absurd, and this attempt's own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core.limits import MILLISECOND, MINUTE, SECOND
from outlast.core.pace import Pace


def seen(*sights):
    pace = Pace()
    for done, at_us in sights:
        pace.see(done, at_us)
    return pace


def test_nothing_is_said_before_there_is_something_to_go_by():
    assert seen().rate is None
    assert seen((500, 0)).rate is None
    assert seen((0, 0), (900, 999 * MILLISECOND)).rate is None
    assert seen((0, 0), (0, MINUTE)).rate is None
    assert seen((0, 0), (0, MINUTE)).left_s(0, 10) is None


def test_an_even_pace_is_told_as_it_is():
    pace = seen(*[(n, n * SECOND // 2) for n in range(100)])

    assert pace.rate == pytest.approx(2)
    assert pace.left_s(99, 199) == pytest.approx(50)
    assert pace.left_s(99, None) is None
    assert pace.left_s(199, 199) == 0


@pytest.mark.parametrize("seed", range(20))
def test_it_is_steady_though_the_items_take_from_nothing_to_twice_their_time(seed):
    dice, pace, now = random.Random(seed), Pace(), 0

    for done in range(2_000):
        pace.see(done, now)
        if now > 30 * SECOND:
            assert pace.left_s(done, 2_000) == pytest.approx(2_000 - done, rel=0.5)
        now += int(dice.random() * 2 * SECOND)


def test_slow_items_do_not_make_it_jump():
    pace, now = Pace(), 0

    for done in range(40):
        pace.see(done, now)
        now += MINUTE * (2 if done % 2 else 1)
        if done >= 12:
            assert pace.rate == pytest.approx(1 / 90, rel=0.25)


def test_it_follows_a_change_of_pace():
    pace = seen(*[(n, n * SECOND) for n in range(60)])
    for n in range(1_200):
        pace.see(60 + n, 60 * SECOND + n * SECOND // 10)

    assert pace.rate == pytest.approx(10, rel=0.1)


def test_the_work_of_earlier_attempts_does_not_count():
    pace = seen((9_000, 0), (9_010, 10 * SECOND))

    assert pace.rate == pytest.approx(1)
    assert pace.left_s(9_010, 10_000) == pytest.approx(990)


def test_what_is_only_read_back_does_not_count():
    pace = seen((0, 0))
    pace.skip()
    pace.see(500, 10 * MILLISECOND)
    for n in range(11):
        pace.see(500 + n, (n + 1) * SECOND)

    assert pace.rate == pytest.approx(1, rel=0.1)


def test_a_second_loop_begins_anew():
    assert seen((0, 0), (100, 10 * SECOND), (0, 11 * SECOND)).rate is None
    assert seen((0, 0), (100, 10 * SECOND), (0, 11 * SECOND), (3, 14 * SECOND)).rate == 1


def test_a_time_that_no_job_may_take_is_not_told():
    assert seen((0, 0), (1, MINUTE)).left_s(1, 1e12) is None


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 10**12)), max_size=50))
def test_whatever_it_sees_it_says_something_sane(moves):
    pace, now = Pace(), 0
    for done, passed in moves:
        now += passed
        pace.see(done, now)
        assert pace.rate is None or pace.rate >= 0
        left = pace.left_s(done, 1e9)
        assert left is None or 0 <= left < 3_661 * 86_400
