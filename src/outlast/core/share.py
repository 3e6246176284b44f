"""Who may start next: limits on how many run and how often they start, and turns between keys."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from outlast.core.errors import InvalidInputError
from outlast.core.limits import DAY, HOUR, MINUTE, SECOND

CONCURRENCY_MAX: Final = 1_000_000
BURST_MAX: Final = 1_000_000
WEIGHT_MAX: Final = 1_000
TURN: Final = 1_000_000  # how far one start moves a lane of weight 1; one of weight 2, half as far
AGED_EVERY: Final = 10  # of so many starts one goes to whoever waits longest, whatever its priority
KINDS: Final = ("queue", "task", "tenant", "key")
FIELDS: Final = ("concurrency", "rate", "burst", "weight", "max_depth")
DEPTH_MAX: Final = 10**9
_BOUNDS: Final = (
    ("concurrency", 0, CONCURRENCY_MAX),
    ("burst", 1, BURST_MAX),
    ("weight", 1, WEIGHT_MAX),
    ("max_depth", 0, DEPTH_MAX),
)
_OWN_KEY: Final = "own-key:"
_UNIT_US: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_RATE: Final = re.compile(r"^\s*(\d{1,9})\s*/\s*(?:(\d{1,9})\s*)?(s|m|h|d)\s*$", re.ASCII)


class Pace(NamedTuple):
    """What is remembered of a subject's starts: when the next would be due, and the last one."""

    due: int
    at: int


NO_PACE: Final = Pace(0, 0)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any `per_us`, evenly spaced; `burst` of them may come at once.

    The rule is GCRA (ITU-T I.371): a start is allowed when it is at most `burst` − 1 gaps earlier
    than it would be due if the rate were kept exactly.

    >>> rate = Rate(count=2, per_us=1_000_000)
    >>> pace = rate.after(NO_PACE, now=5_000_000)
    >>> pace, rate.free_at(pace)
    (Pace(due=5500000, at=5000000), 5500000)
    """

    count: int
    per_us: int
    burst: int = 1

    def __str__(self) -> str:
        for unit, us in reversed(_UNIT_US.items()):
            if self.per_us % us == 0:
                return f"{self.count}/{self.per_us // us}{unit}".replace("/1" + unit, "/" + unit)
        return f"{self.count}/{self.per_us / SECOND:g}s"

    @property
    def gap_us(self) -> int:
        """Between two starts, rounded up, so that no window ever holds one too many."""
        return -(-self.per_us // self.count)

    def _due(self, pace: Pace) -> int:
        """Return the due, within what this rate can leave behind: another may have held then."""
        gap = self.gap_us
        return min(max(pace.due, pace.at + gap), pace.at + self.burst * gap)

    def free_at(self, pace: Pace) -> int:
        """Return from when on the next start is allowed."""
        return self._due(pace) - (self.burst - 1) * self.gap_us

    def after(self, pace: Pace, now: int) -> Pace:
        """Return the pace after a start."""
        return Pace(max(now, self._due(pace)) + self.gap_us, now)


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for one subject; None: nothing was said."""

    concurrency: int | None = None  # how many may hold a lease at once
    rate: Rate | None = None  # how often one may start
    weight: int | None = None  # its share, where it competes with others: 2 gets twice as much as 1
    max_depth: int | None = None  # of a tenant: how many of its jobs may wait

    @property
    def stops(self) -> bool:
        """Whether it can stop a start."""
        return self.concurrency is not None or self.rate is not None

    @classmethod
    @lru_cache(maxsize=1_024)
    def read(cls, text: str) -> "Limit":
        """Read what `text` wrote."""
        doc = json.loads(text)
        rate = doc.get("rate")
        rate = Rate(**rate) if rate else None
        return cls(doc.get("concurrency"), rate, doc.get("weight"), doc.get("max_depth"))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Limit":
        """Read the fields that `FIELDS` names as people give them; null says nothing.

        Raises InvalidInputError that lists all that is wrong.

        >>> Limit.of({"concurrency": 5, "rate": "10/s"}).rate
        Rate(count=10, per_us=1000000, burst=1)
        """
        errors = [
            {"path": f"{name:.80}", "message": f"no such field; known: {', '.join(FIELDS)}"}
            for name in sorted(given.keys() - set(FIELDS))
        ]
        values: dict[str, int | None] = {}
        for name, low, high in _BOUNDS:
            value = values[name] = given.get(name)
            if value is not None and not _is_whole(value, low, high):
                message = f"expected a whole number from {low} to {high}, got {value!r:.60}"
                errors.append({"path": name, "message": message})
        rate = None
        try:
            rate = None if given.get("rate") is None else rate_of(given["rate"], field="rate")
        except InvalidInputError as error:
            errors.append({"path": "rate", "message": error.message.removeprefix("rate: ")})
        if values["burst"] is not None and rate is None:
            errors.append({"path": "burst", "message": "expected a rate beside it"})
        if errors:
            listed = "; ".join(f"{e['path']}: {e['message']}" for e in errors)
            raise InvalidInputError(f"invalid limit: {listed}", errors=errors)
        if rate is not None and values["burst"] is not None:
            rate = replace(rate, burst=values["burst"])
        return cls(values["concurrency"], rate, values["weight"], values["max_depth"])

    def text(self) -> str:
        """Write it as the ledger keeps it."""
        rate = None if self.rate is None else asdict(self.rate)
        said = {"concurrency": self.concurrency, "rate": rate, "weight": self.weight}
        return json.dumps({**said, "max_depth": self.max_depth})

    def shown(self) -> dict[str, Any]:
        """Write it as people give it.

        >>> Limit.of({"rate": "600/m"}).shown()
        {'concurrency': None, 'rate': '600/m', 'burst': 1, 'weight': None, 'max_depth': None}
        """
        rate = None if self.rate is None else str(self.rate)
        burst = None if self.rate is None else self.rate.burst
        return {
            "concurrency": self.concurrency,
            "rate": rate,
            "burst": burst,
            "weight": self.weight,
            "max_depth": self.max_depth,
        }

    def said_of_queue(self, text: str) -> "Limit":
        """Return this limit with what a queue's own record says of it; null there takes it away."""
        said = json.loads(text)
        limit = self
        if "concurrency" in said:
            limit = replace(limit, concurrency=said["concurrency"])
        if "rate_limit" in said:
            rate = said["rate_limit"]
            # One that can't be read, of a newer version perhaps, must not stop every claim.
            with suppress(InvalidInputError):
                limit = replace(limit, rate=None if rate is None else rate_of(rate))
        return limit


NO_LIMIT: Final = Limit()


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def rate_of(value: object, *, field: str = "rate_limit") -> Rate:
    """Read a rate: `"10/s"`, `"100/m"`, `"5/30s"`; raise InvalidInputError naming `field`.

    >>> str(rate_of("100/m"))
    '100/m'
    """
    match = _RATE.match(value) if isinstance(value, str) else None
    if match is None or not int(match[1]) or match[2] == "0":
        message = 'expected a rate such as "10/s", "100/m" or "5/30s"'
        raise InvalidInputError(
            f"{field}: {message}, got {value!r:.80}", errors=[{"path": field, "message": message}]
        )
    return Rate(int(match[1]), int(match[2] or 1) * _UNIT_US[match[3]])


def call_rate(value: object, *, field: str = "rate") -> Rate:
    """Read how often something may be called: evenly, or so many at once after a rest."""
    rate = rate_of(value, field=field)
    return replace(rate, burst=min(rate.count, BURST_MAX))


def subjects(
    queue: str, task: str, tenant: str, key: str | None, *, is_shared: bool
) -> tuple[str, ...]:
    """Name what a job counts against, in the order in which its limits are looked at.

    A shared key is one for all tenants; any other is its tenant's own.

    >>> subjects("default", "render", "", "user-1", is_shared=True)
    ('queue:default', 'task:render', 'key:user-1')
    """
    found = [f"queue:{queue}", f"task:{task}"]
    if tenant:
        found.append(f"tenant:{tenant}")
    if key:
        found.append(f"key:{key}" if is_shared else own_key(tenant, key))
    return tuple(found)


def own_key(tenant: str, key: str) -> str:
    """Name a tenant's own key: with the length, because both may have any characters in them."""
    return f"{_OWN_KEY}{len(tenant)}:{tenant}:{key}"


def default_of(subject: str) -> str:
    """Name the record that holds for each subject of a kind that has none of its own.

    >>> default_of("task:render"), default_of("own-key:4:acme:user-1")
    ('task:*', 'key:*')
    """
    return "key:*" if subject.startswith(_OWN_KEY) else f"{subject.partition(':')[0]}:*"


def own_limit(subject: str, found: Mapping[tuple[str, str], str]) -> Limit | None:
    """Pick what was said of this very subject: set live, else declared by the code.

    `found` has the texts of records by their kind (`limit`, `declared`) and key; of a queue, also
    its own record (`queue`), which counts over both.
    """
    text = found.get(("limit", subject)) or found.get(("declared", subject))
    limit = None if text is None else Limit.read(text)
    if subject.startswith("queue:"):
        said = found.get(("queue", subject.removeprefix("queue:")))
        return limit if said is None else (limit or NO_LIMIT).said_of_queue(said)
    return limit


def step_of(limits: Sequence[Limit]) -> int:
    """Return how far a start moves a lane's turn: the narrowest subject with a weight says it.

    >>> step_of([NO_LIMIT, Limit(weight=4)]), step_of([NO_LIMIT])
    (250000, 1000000)
    """
    return TURN // next((limit.weight for limit in reversed(limits) if limit.weight), 1)


Bound = tuple[str, Limit]  # a subject, and a limit that can stop it


class Limits:
    """What holds for each subject, each asked for once; `own_of` knows what `own_limit` says."""

    def __init__(self, own_of: Callable[[str], Limit | None]) -> None:
        self._own_of = own_of
        self._own: dict[str, Limit | None] = {}
        self._limits: dict[str, Limit] = {}
        self._common: dict[tuple[str, str, str], tuple[list[Bound], int]] = {}

    def own(self, subject: str) -> Limit | None:
        """Return what was said of this very subject."""
        if subject not in self._own:
            self._own[subject] = self._own_of(subject)
        return self._own[subject]

    def of(self, subject: str) -> Limit:
        """Return what holds for a subject: what was said of it, else its kind's default."""
        found = self._limits.get(subject)
        if found is None:
            own = None if subject.startswith(_OWN_KEY) else self.own(subject)
            found = own or self.own(default_of(subject)) or NO_LIMIT
            self._limits[subject] = found
        return found

    def bounds(self, names: Sequence[str]) -> list[Bound]:
        """Return those of these subjects that can stop a start, each with its limit."""
        found = ((name, self.of(name)) for name in names)
        return [(name, limit) for name, limit in found if limit.stops]

    def of_line(self, queue: str, task: str, tenant: str, key: str) -> tuple[list[Bound], int]:
        """Return what can stop a line's start, and how far one moves the turn of its lane.

        What it has in common with others is looked up once: there may be very many of them.
        """
        common = self._common.get((queue, task, tenant))
        if common is None:
            names = self.subjects(queue, task, tenant, None)
            common = (self.bounds(names), step_of([self.of(name) for name in names[2:]]))
            self._common[queue, task, tenant] = common
        if not key:
            return common
        bounds, step = common
        name = f"key:{key}"
        name = own_key(tenant, key) if self.own(name) is None else name
        limit = self.of(name)
        if limit.stops:
            bounds = [*bounds, (name, limit)]
        return bounds, step_of([limit]) if limit.weight else step

    def subjects(self, queue: str, task: str, tenant: str, key: str | None) -> tuple[str, ...]:
        """Name what a job counts against: a key that somebody gave a limit is one for all tenants.

        >>> said = Limits(lambda subject: NO_LIMIT if subject == "key:stripe" else None)
        >>> said.subjects("q", "t", "acme", "stripe")[2:], said.subjects("q", "t", "acme", "u")[2:]
        (('tenant:acme', 'key:stripe'), ('tenant:acme', 'own-key:4:acme:u'))
        """
        is_shared = bool(key) and self.own(f"key:{key}") is not None
        return subjects(queue, task, tenant, key, is_shared=is_shared)


Held = tuple[str, str, str, str | None, int]  # queue, task, tenant, key, and how many run


_NAMED: Final[Mapping[str, Callable[[Held], str]]] = {  # an empty name is nobody's
    "queue": lambda held: f"queue:{held[0]}",
    "task": lambda held: f"task:{held[1]}",
    "tenant": lambda held: f"tenant:{held[2]}",
    "key": lambda held: f"key:{held[3] or ''}",
    "own-key": lambda held: own_key(held[2], held[3] or ""),
}


class Running(dict[str, int]):
    """How many run, by subject: of each kind of subject counted when one is first asked for."""

    def __init__(self, held: Callable[[], Iterable[Held]]) -> None:
        super().__init__()
        self._read = held
        self._held: list[Held] | None = None
        self._kinds: set[str] = set()

    def __missing__(self, subject: str) -> int:
        kind = subject.partition(":")[0]
        if kind not in self._kinds:
            self._kinds.add(kind)
            if self._held is None:
                self._held = list(self._read())  # before the first start, never after
            name_of = _NAMED[kind]
            for held in self._held:
                name = name_of(held)
                self[name] = self.get(name, 0) + held[-1]
        return self.setdefault(subject, 0)


class Gate:
    """The limits during one claim: who is stopped by which, and what a start uses up."""

    def __init__(
        self,
        now: int,
        limits: Limits,
        running: Running,
        pace_of: Callable[[str], Pace],
    ) -> None:
        self.limits = limits
        self._now = now
        self._running = running
        self._pace_of = pace_of
        self._paces: dict[str, Pace] = {}
        self.used: set[str] = set()  # the subjects whose pace has moved
        self.free_at: int | None = None  # when the first of those that a rate stopped may start

    def pace(self, subject: str) -> Pace:
        """Return what is remembered of a subject's starts."""
        if subject not in self._paces:
            self._paces[subject] = self._pace_of(subject)
        return self._paces[subject]

    def stopped_by(self, bounds: Sequence[Bound]) -> str | None:
        """Return the first of these subjects that lets no other job start now."""
        for subject, limit in bounds:
            if limit.concurrency is not None and self._running[subject] >= limit.concurrency:
                return subject
            if limit.rate is not None:
                free_at = limit.rate.free_at(self.pace(subject))
                if free_at > self._now:
                    self.free_at = min(free_at, self.free_at or free_at)
                    return subject
        return None

    def take(self, bounds: Sequence[Bound]) -> None:
        """Count one start against all of these."""
        for subject, limit in bounds:
            if limit.concurrency is not None:
                self._running[subject] += 1
            if limit.rate is not None:
                self._paces[subject] = limit.rate.after(self.pace(subject), self._now)
                self.used.add(subject)
