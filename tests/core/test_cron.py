"""Cron in time zones: every minute of whole years, judged by an evaluator of its own."""

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import cron
from outlast.core.cron import Cron
from outlast.core.errors import InvalidInputError
from outlast.core.limits import SECOND

ZONES = {
    "Europe/Berlin": 2026,  # leaps at 2:00, returns at 3:00
    "America/New_York": 2024,  # has a leap day
    "Australia/Lord_Howe": 2026,  # half an hour, and in the other half of the year
    "America/Sao_Paulo": 2018,  # leaps at midnight
    "America/Scoresbysund": 2024,  # leaps from half past midnight on the day before
    "Pacific/Apia": 2011,  # left out a whole day
}
EXPRESSIONS = [
    "30 2 * * *", "0 3 * * *", "15 2 * * *", "45 1 * * *", "30 1 * * *", "0,30 1,2,3 * * *",
    "0 0 * * *", "*/15 * * * *", "*/20 2 * * *", "*/15 3 * * *", "5 * * * *", "0 */2 * * *",
    "0-10/5 1-3 * * *", "0 12 29 2 *", "30 2 * 3,10,11 0", "0 9 1 * 1", "10 0 * * 7",
    "59 23 31 * *", "0 0 */10 * *", "0 6 * * 1-5", "45 23 * * *", "15 0 30 12 *",
]  # fmt: skip


@cache
def minutes(zone):
    """What the zone's clock shows at each minute of the year, and which times it leapt over."""
    start = datetime(ZONES[zone], 1, 1, tzinfo=UTC)
    place, minute = ZoneInfo(zone), timedelta(minutes=1)
    shown, last = [], None  # the latest time that the clock has shown
    for number in range(366 * 1_440):
        local = (start + number * minute).astimezone(place).replace(tzinfo=None, fold=0)
        leapt = []
        while last is not None and local - last > minute:
            last += minute
            leapt.append(last)
        again = last is not None and local <= last
        shown.append((int(start.timestamp()) + number * 60, local, again, leapt))
        last = last if again else local
    return shown


def values(text, low, high):
    """Read one field, as the manual says it."""
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, final = (f"{low}-{high}" if span == "*" else span).partition("-")
        end = int(final or (high if step else first))
        found |= set(range(int(first), end + 1, int(step or 1)))
    return found


def expected(text, zone):
    """Go through the year minute by minute."""
    m, h, dom, month, dow = text.split()
    sets = [values(m, 0, 59), values(h, 0, 23), values(dom, 1, 31), values(month, 1, 12)]
    weekdays = {day % 7 for day in values(dow, 0, 7)}
    either = not dom.startswith("*") and not dow.startswith("*")

    def fits(at):
        if at.minute not in sets[0] or at.hour not in sets[1] or at.month not in sets[3]:
            return False
        days = (at.day in sets[2], at.isoweekday() % 7 in weekdays)
        return any(days) if either else all(days)

    rhythm = m.startswith("*") or h.startswith("*")
    if rhythm:
        return [second for second, at, _, _ in minutes(zone) if fits(at)]
    return [
        second
        for second, at, again, leapt in minutes(zone)
        if (fits(at) and not again) or any(map(fits, leapt))
    ]


def ticks(text, zone):
    rule, at, found = Cron(text, zone), minutes(zone)[0][0] * SECOND - 1, []
    last = minutes(zone)[-1][0] * SECOND
    while (at := rule.after(at)) is not None and at <= last:
        found.append(at // SECOND)
    return found


@pytest.mark.slow
@pytest.mark.fault("F45")
@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_ticks_is_what_an_independent_evaluator_says(zone):
    for text in EXPRESSIONS:
        assert ticks(text, zone) == expected(text, zone), text


def test_the_evaluator_catches_a_rule_without_a_second_pass(monkeypatch):
    monkeypatch.setattr(cron, "_shows", lambda *_: True)
    cron._ticks_of.cache_clear()

    with pytest.raises(AssertionError):
        test_a_year_of_ticks_is_what_an_independent_evaluator_says("Australia/Lord_Howe")
    cron._ticks_of.cache_clear()


@pytest.mark.parametrize(
    ("text", "after", "told"),
    [
        # The clock leaps from 2:00 to 3:00: what it leaps over comes right after, and comes once.
        ("30 2 * * *", "2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        ("30 2 * * *", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"),
        ("0 2,3 * * *", "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"),
        ("*/30 2 * * *", "2026-03-29T00:00:00+01:00", "2026-03-30T02:00:00+02:00"),
        # It returns from 3:00 to 2:00: a moment comes the first time, a rhythm goes on.
        ("30 2 * * *", "2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
        ("*/30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"),
    ],
)
def test_a_changed_clock_in_berlin(text, after, told):
    start, end = (int(datetime.fromisoformat(at).timestamp()) * SECOND for at in (after, told))

    assert Cron(text, "Europe/Berlin").after(start) == end


INSTANT = st.integers(0, 4_000_000_000 * SECOND)


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(sorted(ZONES)), INSTANT)
def test_a_tick_is_found_alike_from_both_sides(text, zone, at):
    rule = Cron(text, zone)

    following, last = rule.after(at), rule.before(at)

    assert last <= at < following
    assert rule.after(last) == following
    assert rule.before(following) == following
    assert rule.before(following - 1) == last


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(sorted(ZONES)), INSTANT)
def test_ticks_only_grow(text, zone, at):
    rule, found = Cron(text, zone), [at]
    for _ in range(5):
        found.append(rule.after(found[-1]))

    assert all(a < b for a, b in pairwise(found))


def refused_part(text, zone):
    try:
        Cron(text, zone)
    except InvalidInputError as error:
        return error.facts["errors"][0]["path"]
    return None


@given(st.text(max_size=30) | st.text("0123456789*/-,#LW @", max_size=30))
def test_any_text_is_a_cron_expression_or_refused_by_name(text):
    assert refused_part(text, "UTC") in {None, "cron"}


@given(st.text(max_size=30))
def test_any_text_is_a_zone_or_refused_by_name(text):
    assert refused_part("@daily", text) in {None, "zone"}


@pytest.mark.parametrize("text", ["0 0 31 2,4,6,9,11 *", "0 0 30 2 *"])
def test_a_date_that_never_comes_is_refused(text):
    with pytest.raises(InvalidInputError, match="cron"):
        Cron(text)


def test_nicknames_mean_what_they_say():
    at = random.Random(7).randrange(10**15)

    assert Cron("@hourly").after(at) == Cron("0 * * * *").after(at)
    assert Cron("@Weekly").after(at) == Cron("0 0 * * SUN").after(at)
    with pytest.raises(InvalidInputError):
        Cron("@reboot")
