"""One job when one is meant: what makes two submits the same intention, and what then happens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, Self, cast

from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import NAME_CHARS_MAX
from outlast.core.status import Status

Answer = Literal["existing", "reject", "replace"]
Duration = str | float | timedelta

ANSWERS: Final[tuple[Answer, ...]] = ("existing", "reject", "replace")
LIVE: Final = (Status.SCHEDULED, Status.PENDING, Status.PROCESSING, Status.WAITING)
REPLACEABLE: Final = (Status.SCHEDULED, Status.PENDING)
_NAMES: Final = frozenset({"by", "within", "states", "on", "wait", "at_most"})
_NAMES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Sole:
    """The rule as the ledger keeps it: jobs with one `key` are the same intention."""

    key: str
    states: tuple[Status, ...] = LIVE  # in which another one counts
    within_us: int | None = None  # only those that were submitted so long ago at most
    on: Answer = "existing"
    hold_us: int | None = None  # how long after its submit a waiting one may still be put off

    @property
    def outcome(self) -> str:
        """What becomes of an insert that finds another job."""
        return {"existing": "existing", "reject": "rejected", "replace": "replaced"}[self.on]

    @property
    def counting(self) -> tuple[Status, ...]:
        """The states in which another job counts: only what has not started can be replaced."""
        if self.on != "replace":
            return self.states
        return tuple(state for state in self.states if state in REPLACEABLE)

    def is_recent(self, submitted_at: int, now: int) -> bool:
        """Whether a job that was submitted then still counts."""
        return self.within_us is None or submitted_at > now - self.within_us

    def put_off_us(self, delay_us: int, submitted_at: int, now: int) -> int:
        """Return how long from now a waiting job is put off by a further submit."""
        if self.hold_us is None:
            return delay_us
        return max(0, min(delay_us, submitted_at + self.hold_us - now))


@dataclass(frozen=True, slots=True)
class Unique:
    """Says which jobs of a task are the same intention, and what a further submit then gets.

    `by` names the arguments that count: all of them unless given, none of them for one job a task.
    Another job counts while it is in one of the `states` (unless given, until it has ended) and was
    submitted `within` a time, if that is given. `on` says what a further submit gets: the
    `"existing"` job, an error (`"reject"`), or the existing job with the new arguments in it
    (`"replace"`), as long as that has not started. `wait` delays each job; with `"replace"` each
    submit waits anew, `at_most` for so long after the first.

    >>> Unique(by=("user_id",), within="1h").within
    '1h'
    """

    by: tuple[str, ...] | None = None
    within: Duration | None = None
    states: tuple[str, ...] = LIVE
    on: Answer = "existing"
    wait: Duration | None = None
    at_most: Duration | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.by is not None and not _are_names(self.by):
            raise _bad("by", f"expected names of arguments, at most {_NAMES_MAX}", self.by)
        if self.on not in ANSWERS:
            raise _bad("on", f"expected one of {', '.join(ANSWERS)}", self.on)
        if not self.states or not set(self.states) <= set(Status):
            raise _bad("states", f"expected some of {', '.join(Status)}", self.states)
        for name in ("within", "wait", "at_most"):
            value = getattr(self, name)
            if value is not None:
                duration_us(value, field=f"unique.{name}")
        if self.at_most is not None and (self.wait is None or self.on != "replace"):
            raise _bad("at_most", 'expected together with wait and on="replace"', self.at_most)

    @classmethod
    def read(cls, given: object) -> Self:
        """Read the rule from JSON: `true`, or an object with these names."""
        if isinstance(given, cls):
            return given
        if given is True:
            return cls()
        if not isinstance(given, Mapping):
            raise _bad("", "expected true or an object", given)
        unknown = sorted(str(name) for name in given.keys() - _NAMES)
        if unknown:
            raise _bad(unknown[0], f"no such field; known: {', '.join(sorted(_NAMES))}", given)
        values: dict[str, Any] = dict(given)
        for name in ("by", "states"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        return cls(**{name: value for name, value in values.items() if value is not None})

    @property
    def wait_us(self) -> int | None:
        """How long each job waits, in microseconds."""
        return None if self.wait is None else duration_us(self.wait, field="unique.wait")

    def chosen(self, args: Mapping[str, Any], task: str) -> dict[str, Any]:
        """Return the arguments that count; raise InvalidInputError for one that is not there."""
        if self.by is None:
            return dict(args)
        missing = [name for name in self.by if name not in args]
        if missing:
            known = ", ".join(args) or "none"
            raise _bad("by", f"expected arguments of task {task} ({known})", missing[0])
        return {name: args[name] for name in self.by}

    def sole(self, key: str) -> Sole:
        """Return the rule for the ledger."""
        within = None if self.within is None else duration_us(self.within, field="unique.within")
        hold = None if self.at_most is None else duration_us(self.at_most, field="unique.at_most")
        return Sole(key, tuple(Status(state) for state in self.states), within, self.on, hold)


def debounce(
    wait: Duration, *, by: Iterable[str] | None = None, at_most: Duration | None = None
) -> Unique:
    """Run once, when no further submit has come for a while, with the last one's arguments.

    >>> debounce("30s", by=["document_id"]).on
    'replace'
    """
    names = None if by is None else tuple(by)
    return Unique(names, on="replace", states=REPLACEABLE, wait=wait, at_most=at_most)


def throttle(period: Duration, *, by: Iterable[str] | None = None) -> Unique:
    """Run at most once in a period; further submits get the job that was run.

    >>> throttle("10m", by=["user_id"]).within
    '10m'
    """
    states = (*LIVE, Status.COMPLETED)
    return Unique(None if by is None else tuple(by), within=period, states=states)


def _are_names(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= _NAMES_MAX
        and all(isinstance(name, str) and 0 < len(name) <= NAME_CHARS_MAX for name in value)
    )


def _bad(name: str, message: str, got: object) -> InvalidInputError:
    path = f"unique.{name}".rstrip(".")
    return InvalidInputError(
        f"{path}: {message}, got {cast('Any', got)!r:.80}",
        errors=[{"path": path, "message": f"{message}, got {got!r:.80}"}],
    )
