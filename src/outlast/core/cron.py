"""At which instants a cron expression ticks in a time zone; the rule for changed clocks is here."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from outlast.core.errors import InvalidInputError
from outlast.core.limits import CRON_CHARS_MAX, CRON_DAYS_MAX, HOUR, SECOND

_HOUR_S: Final = HOUR // SECOND
_DAY: Final = timedelta(days=1)
_PLAIN: Final = f"expected at most {CRON_CHARS_MAX} plain characters"
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# As the parser calls them, in the order of the expression, with what each may hold.
_FIELDS: Final = {
    "minute": "0–59",
    "hour": "0–23",
    "day-of-month": "1–31, L or LW",
    "month": "1–12 or JAN–DEC",
    "day-of-week": "0–7 or SUN–SAT, 5L or 2#1",
}


def zone_of(name: object, *, field: str = "zone") -> ZoneInfo:
    """Return the IANA zone of this name; raise InvalidInputError naming `field`.

    >>> zone_of("Europe/Berlin").key
    'Europe/Berlin'
    """
    # These would name a file of this machine, of which another has another.
    if isinstance(name, str) and name.partition("/")[0] not in {"localtime", "posix", "right", ""}:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    message = 'expected an IANA time zone, such as "Europe/Berlin" or "UTC"'
    raise InvalidInputError(
        f"{field}: {message}, got {name!r:.60}", errors=[{"path": field, "message": message}]
    )


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone.

    An expression with a fixed minute and hour stands for moments of the day, each of which comes
    once: one that the clock leaps over comes right after the leap, one that the clock repeats comes
    the first time. An expression whose minute or hour begins with a star stands for a rhythm: it
    ticks whenever the clock shows a matching time. That is the rule of Debian's cron.

    >>> Cron("30 2 * * *", "Europe/Berlin").after(0) / SECOND
    5400.0
    """

    text: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse what can't be read or never ticks; raise InvalidInputError naming the part."""
        zone_of(self.zone)
        if not isinstance(self.text, str):
            raise _bad(
                self.text, _PLAIN
            )  # before any cache is asked: not all there is can be a key
        if not _comes(self.text):
            raise _bad(self.text, "expected a time that comes, this one never does")

    def after(self, us: int) -> int | None:
        """Return the first tick after an instant, or None when there is none for decades."""
        second = us // SECOND
        # Where the clock leaps or returns over midnight, the ticks of two days are interleaved.
        found: int | None = None
        for day in _days(self._day_of(second) - _DAY, 1):
            ticks = _ticks_of(self.text, self.zone, day)
            place = bisect_right(ticks, second)
            if place < len(ticks):
                if found is not None:
                    return min(found, ticks[place]) * SECOND
                found = ticks[place]
            elif found is not None:
                break
        return None if found is None else found * SECOND

    def before(self, us: int) -> int | None:
        """Return the last tick that is not after an instant, or None likewise."""
        second = us // SECOND
        found: int | None = None
        for day in _days(self._day_of(second) + _DAY, -1):
            ticks = _ticks_of(self.text, self.zone, day)
            place = bisect_right(ticks, second)
            if place:
                if found is not None:
                    return max(found, ticks[place - 1]) * SECOND
                found = ticks[place - 1]
            elif found is not None:
                break
        return None if found is None else found * SECOND

    def _day_of(self, second: int) -> date:
        return datetime.fromtimestamp(second, ZoneInfo(self.zone)).date()


def _days(first: date, step: int) -> Iterator[date]:
    for number in range(CRON_DAYS_MAX):
        yield first + step * number * _DAY


@lru_cache(maxsize=1_024)
def _parsed(text: str) -> CronSim:
    """Parse an expression; what comes back is only asked, never moved."""
    if len(text) > CRON_CHARS_MAX or not text.isascii():
        raise _bad(text, _PLAIN)
    parts = _NICKNAMES.get(text.strip().lower(), text).split()
    if len(parts) != len(_FIELDS):
        raise _bad(text, f"expected five fields ({', '.join(_FIELDS)}) or one of @hourly, @daily …")
    try:
        return CronSim(" ".join(parts), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError, AssertionError) as error:
        name = str(error).removeprefix("Bad ")
        if name not in _FIELDS:
            raise _bad(text, "expected a cron expression") from error
        part = parts[list(_FIELDS).index(name)]
        expected = f"{name.replace('-', ' ')}: expected {_FIELDS[name]}, *, a list, range or step"
        raise _bad(text, expected, part) from error


@lru_cache(maxsize=1_024)
def _comes(text: str) -> bool:
    return any(_ticks_of(text, "UTC", day) for day in _days(date(2000, 1, 1), 1))


def _bad(text: object, message: str, part: str | None = None) -> InvalidInputError:
    given = text if part is None else part
    return InvalidInputError(
        f"cron: {message}, got {given!r:.60}",
        errors=[{"path": "cron", "message": f"{message}, got {given!r:.60}"}],
    )


@lru_cache(maxsize=512)
def _ticks_of(text: str, zone: str, day: date) -> tuple[int, ...]:
    """Return the ticks of a day of the calendar, in seconds since 1970, in their order."""
    rule, place = _parsed(text), ZoneInfo(zone)
    if day.month not in rule.months or not rule.match_day(day):
        return ()
    midnight = datetime.combine(day, time(), place)
    start = int(midnight.timestamp())
    clock = [(hour, minute) for hour in sorted(rule.hours) for minute in sorted(rule.minutes)]
    hours = (datetime.fromtimestamp(start + n * _HOUR_S, place) for n in range(-1, 26))
    if len({moment.utcoffset() for moment in hours}) == 1:
        return tuple(start + (hour * 60 + minute) * 60 for hour, minute in clock)
    rhythm = any(part.startswith("*") for part in rule.parts[1:3])
    found: set[int] = set()
    for hour, minute in clock:
        shown = midnight.replace(hour=hour, minute=minute)
        real = [s for fold in (0, 1) if _shows(s := _second(shown, fold), shown)]
        if rhythm:
            found.update(real)
        else:
            found.add(real[0] if real else _leap(shown))
    return tuple(sorted(found))


def _second(shown: datetime, fold: int) -> int:
    return int(shown.replace(fold=fold).timestamp())


def _shows(second: int, shown: datetime) -> bool:
    """Whether the clock of the zone shows this time at this instant."""
    moment = datetime.fromtimestamp(second, shown.tzinfo)
    return moment.replace(tzinfo=None) == shown.replace(tzinfo=None)


def _leap(shown: datetime) -> int:
    """Return the instant at which the clock leapt over the time shown."""
    # Read with the offset from after the leap, the time lies before it, and the other way round.
    low, high = _second(shown, 1), _second(shown, 0)
    after = datetime.fromtimestamp(high, shown.tzinfo).utcoffset()
    seconds = range(low, high)
    return low + bisect_left(
        seconds,
        1,
        key=lambda second: datetime.fromtimestamp(second, shown.tzinfo).utcoffset() == after,
    )
