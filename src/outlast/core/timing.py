"""When a schedule ticks, as far as it needs no record: rhythms, bounds, the words they come in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from outlast.core.cron import Cron
from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us, from_rfc3339
from outlast.core.limits import (
    DURATION_MAX_US,
    EVERY_MIN_US,
    JITTER_MAX_US,
    MISSED_AFTER_US,
    SECOND,
)

MISSED: Final = ("skip", "once", "all")
TIMES: Final = (
    "cron", "every", "zone", "start_at", "end_at", "jitter", "missed", "missed_after",
)  # fmt: skip
_LATEST_US: Final = from_rfc3339("9000-01-01T00:00:00Z")


class Rhythm(Protocol):
    """Where ticks are: the first after an instant, and the last that is not after it."""

    def after(self, us: int) -> int | None: ...

    def before(self, us: int) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Every:
    """Ticks at equal distances, counted from an instant, so that nothing makes them drift."""

    every_us: int
    anchor_us: int = 0

    def after(self, us: int) -> int:
        """Return the first tick after an instant."""
        return self.before(us) + self.every_us

    def before(self, us: int) -> int:
        """Return the last tick that is not after an instant."""
        return us - (us - self.anchor_us) % self.every_us


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule ticks, and what becomes of ticks that nobody noticed in time."""

    rhythm: Rhythm
    start_us: int | None = None
    end_us: int | None = None
    jitter_us: int = 0
    missed: str = "once"
    missed_after_us: int = MISSED_AFTER_US

    def after(self, us: int) -> int | None:
        """Return the first tick after an instant."""
        tick = self.rhythm.after(us if self.start_us is None else max(us, self.start_us - 1))
        return None if tick is None or (self.end_us is not None and tick > self.end_us) else tick

    def before(self, us: int) -> int | None:
        """Return the last tick that is not after an instant."""
        tick = self.rhythm.before(us if self.end_us is None else min(us, self.end_us))
        early = tick is not None and self.start_us is not None and tick < self.start_us
        return None if early else tick


class _Reader:
    """Reads the times of a schedule one by one, and keeps what is wrong with them."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.wrong: list[dict[str, str]] = []

    def say(self, path: str, message: str) -> None:
        given = self.spec.get(path)
        self.wrong.append({"path": path, "message": f"{message}, got {given!r:.60}"})

    def has(self, name: str) -> bool:
        return self.spec.get(name) is not None

    def read(self, name: str, how: Callable[[Any], Any]) -> Any:
        if not self.has(name):
            return None
        try:
            return how(self.spec[name])
        except InvalidInputError as error:
            told: Any = error.facts.get("errors") or [{"path": name, "message": error.message}]
            self.wrong += told
            return None

    def duration(self, name: str, low: int, high: int) -> int | None:
        us: int | None = self.read(name, lambda value: duration_us(value, field=name))
        if us is None or low <= us <= high:
            return us
        self.say(name, f"expected {low // SECOND} to {high // SECOND} seconds")
        return None

    def instant(self, name: str) -> int | None:
        us: int | None = self.read(name, lambda value: from_rfc3339(value, field=name))
        if us is None or us <= _LATEST_US:
            return us
        self.say(name, "expected a time before the year 9000")
        return None


def timing_of(spec: Mapping[str, Any]) -> Timing:
    """Read the times of a schedule; raise InvalidInputError that lists all that is wrong.

    >>> timing_of({"every": "5m"}).after(0)
    300000000
    """
    said = _Reader(spec)
    start, end = said.instant("start_at"), said.instant("end_at")
    every = said.duration("every", EVERY_MIN_US, DURATION_MAX_US)
    zone = spec["zone"] if said.has("zone") else "UTC"
    cron = said.read("cron", lambda text: Cron(text, zone))
    jitter = said.duration("jitter", 0, JITTER_MAX_US)
    late = said.duration("missed_after", SECOND, DURATION_MAX_US)
    missed = spec["missed"] if said.has("missed") else "once"
    if missed not in MISSED:
        said.say("missed", f"expected one of {', '.join(MISSED)}")
    if said.has("cron") == said.has("every"):
        said.say("cron", "expected one of cron and every")
    elif said.has("zone") and said.has("every"):
        said.say("zone", "expected none with every, whose ticks have no zone")
    if start is not None and end is not None and end < start:
        said.say("end_at", "expected a time after start_at")
    if said.wrong:
        listed = "; ".join(f"{one['path']}: {one['message']}" for one in said.wrong[:5])
        raise InvalidInputError(f"invalid schedule: {listed}", errors=said.wrong)
    rhythm: Rhythm = Every(every, start or 0) if every is not None else cron
    return Timing(rhythm, start, end, jitter or 0, missed, late or MISSED_AFTER_US)
