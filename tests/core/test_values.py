"""Durations, instants, IDs, errors as data, and how far to look ahead."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import errors
from outlast.core.errors import InvalidInputError, OutlastError
from outlast.core.failure import describe, fingerprint
from outlast.core.identity import is_uuid, uuid7, uuid7_floor
from outlast.core.instant import duration_us, from_rfc3339, to_rfc3339
from outlast.core.limits import (
    DURATION_MAX_US,
    ERROR_MESSAGE_CHARS_MAX,
    SECOND,
    TRACEBACK_CHARS_MAX,
)
from outlast.core.prefetch import AHEAD_US, DEPTH_MAX, ServiceTime

INSTANTS = st.integers(0, 250_000_000_000_000_000)  # to the year 9892
DICE = st.integers(0, 2**62 - 1)


@given(st.integers(0, 3_660 * 86_400))
def test_the_same_duration_is_read_from_every_notation(seconds):
    notations = [seconds, float(seconds), f"{seconds}s", timedelta(seconds=seconds)]

    assert {duration_us(given) for given in notations} == {seconds * SECOND}


@given(
    st.text()
    | st.floats()
    | st.integers()
    | st.booleans()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
    | st.none()
    | st.timedeltas()
)
def test_anything_is_a_duration_within_bounds_or_an_error_that_names_the_field(value):
    try:
        micros = duration_us(value, field="delay")
    except InvalidInputError as error:
        named = error.facts["errors"][0]["path"]
        assert named == "delay"
    else:
        assert 0 <= micros <= DURATION_MAX_US


@pytest.mark.parametrize(
    "bad", ["", "5", "-1s", "1e3s", "٣s", "5 parsecs", "1" * 400 + "w", 10**400]
)
def test_what_is_no_duration_is_refused(bad):
    with pytest.raises(InvalidInputError, match="ten years"):
        duration_us(bad)


@given(INSTANTS)
def test_an_instant_survives_its_notation(us):
    assert from_rfc3339(to_rfc3339(us)) == us


@given(st.lists(INSTANTS, min_size=2))
def test_notations_sort_as_their_instants(moments):
    assert [to_rfc3339(us) for us in sorted(moments)] == sorted(map(to_rfc3339, moments))


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "yesterday",
        "2026-11-23T10:00:00",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "\x00",
        5,
        None,
    ],
)
def test_what_is_no_instant_with_an_offset_is_refused(bad):
    with pytest.raises(InvalidInputError, match="run_at: expected an RFC 3339 time"):
        from_rfc3339(bad, field="run_at")


@given(INSTANTS, INSTANTS, DICE, DICE)
def test_ids_sort_by_the_microsecond_they_were_made_in(a, b, dice_a, dice_b):
    first, second = uuid7(a, dice_a), uuid7(b, dice_b)

    assert is_uuid(first)
    assert first[14] == "7"
    assert first[19] in "89ab"
    if a < b:
        assert first < second
    assert uuid7_floor(a) <= first


@given(INSTANTS, st.lists(DICE, unique=True, min_size=2, max_size=50))
def test_ids_of_one_instant_differ_as_their_dice(us, dice):
    assert len({uuid7(us, d) for d in dice}) == len(dice)


@given(st.text(max_size=40))
def test_only_canonical_ids_are_ids(text):
    assert not is_uuid(text) or (len(text) == 36 and text == text.lower())


@given(st.text(alphabet=st.characters(), max_size=200), st.integers(1, 200))
def test_any_error_is_storable_and_bounded(message, times):
    told = describe(ValueError(message * times * 10), attempt=1, at="t", retryable=True)

    assert len(told["message"]) <= ERROR_MESSAGE_CHARS_MAX
    assert len(told["traceback"]) <= TRACEBACK_CHARS_MAX
    for part in (told["message"], told["traceback"]):
        assert "\x00" not in part
        part.encode()


@given(st.integers(), st.integers())
def test_errors_that_differ_only_in_numbers_are_the_same(a, b):
    assert fingerprint("E", f"row {abs(a)} of 0xff") == fingerprint("E", f"row {abs(b)} of 0xab")
    assert fingerprint("E", "row") != fingerprint("F", "row")


def test_every_error_has_its_own_code_and_a_status():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in kinds if issubclass(kind, OutlastError)]

    assert len({kind.code for kind in ours}) == len(ours)
    assert all(400 <= kind.http_status < 600 and kind.exit_code for kind in ours)


@given(st.lists(st.floats(0, 1e12), max_size=50), st.integers(1, 1_000))
def test_looking_ahead_is_bounded_and_never_for_slow_jobs(times, slots):
    service = ServiceTime()
    for us in times:
        service.observe(us)

    depth = service.depth(slots)

    assert 0 <= depth <= DEPTH_MAX
    assert depth == 0 or service.mean_us < AHEAD_US


def test_one_slow_job_after_many_fast_ones_stops_the_looking_ahead():
    service = ServiceTime(mean_us=50.0)

    service.observe(10 * SECOND)

    assert service.depth(16) == 0


@given(st.integers(0, 5_000), st.integers(1, 1_000))
def test_no_more_is_held_than_was_started_in_time_until_many_more_have_ended(started, slots):
    service = ServiceTime(mean_us=20.0)

    service.late(started)
    after = service.depth(slots)
    for _ in range(51 * DEPTH_MAX):
        service.observe(20.0)

    assert after <= started
    assert service.depth(slots) == ServiceTime(mean_us=20.0).depth(slots)
