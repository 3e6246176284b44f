"""Instants and durations: integer microseconds inside, RFC 3339 and "5m" at the edges."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from outlast.core.errors import InvalidInputError
from outlast.core.limits import DURATION_MAX_US, SECOND

Duration = str | int | float | timedelta

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION: Final = re.compile(r"^\s*(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w)\s*$", re.ASCII)
_UNIT_US: Final = {
    "ms": 1_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3_600 * SECOND,
    "d": 86_400 * SECOND,
    "w": 7 * 86_400 * SECOND,
}


def duration_us(value: Duration, *, field: str = "duration") -> int:
    """Read a duration: `"90s"`, `"5m"`, `"6h"`, `"1d"`, a number of seconds, or a timedelta.

    Returns microseconds. Raises InvalidInputError naming `field` when it can't be read, is
    negative, or is longer than ten years.

    >>> duration_us("5m")
    300000000
    >>> duration_us(1.5)
    1500000
    """
    if isinstance(value, timedelta):
        micros: float = value / timedelta(microseconds=1)
    elif isinstance(value, bool):
        raise _bad_duration(field, value)
    elif isinstance(value, str):
        match = _DURATION.match(value)
        micros = float(match[1]) * _UNIT_US[match[2]] if match else -1
    elif isinstance(value, int | float):
        micros = value * SECOND if abs(value) < DURATION_MAX_US else -1  # NaN compares false
    else:  # JSON can bring anything
        raise _bad_duration(field, value)
    if not 0 <= micros <= DURATION_MAX_US:
        raise _bad_duration(field, value)
    return round(micros)


def _bad_duration(field: str, value: object) -> InvalidInputError:
    message = 'expected a duration such as "90s", "5m", "6h", "1d" or seconds from 0 to ten years'
    return InvalidInputError(
        f"{field}: {message}, got {value!r:.80}", errors=[{"path": field, "message": message}]
    )


def retry_after_us(text: str, now_us: int) -> int | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds, or an HTTP date; None when neither.

    >>> retry_after_us("120", now_us=0)
    120000000
    >>> retry_after_us("Thu, 01 Jan 1970 00:01:00 GMT", now_us=0)
    60000000
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:12]) * SECOND, DURATION_MAX_US)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)  # an HTTP date is always in UTC
    wait = (moment - _EPOCH) // timedelta(microseconds=1) - now_us
    return min(max(0, wait), DURATION_MAX_US)


def to_rfc3339(us: int) -> str:
    """Write an instant as RFC 3339 in UTC with microseconds.

    >>> to_rfc3339(0)
    '1970-01-01T00:00:00.000000Z'
    """
    seconds, micros = divmod(us, SECOND)
    return f"{_to_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=256)
def _to_second(seconds: int) -> str:
    """Kept, because the answers of one second bear the same ones."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def from_rfc3339(text: str, *, field: str = "time") -> int:
    """Read an RFC 3339 time with an offset into microseconds since 1970.

    Raises InvalidInputError naming `field` when it can't be read or bears no offset.

    >>> from_rfc3339("1970-01-01T01:00:00+01:00")
    0
    """
    message = 'expected an RFC 3339 time with an offset, such as "2026-11-23T10:00:00Z"'
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)  # must be a year that can be written, too
    except (OverflowError, TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInputError(
            f"{field}: {message}, got {text!r:.80}", errors=[{"path": field, "message": message}]
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)
