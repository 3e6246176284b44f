"""When a failed attempt runs again: backoff with full jitter and rules for errors, as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from outlast.core.errors import DriftError, InvalidInputError, StorageFullError
from outlast.core.failure import leaves
from outlast.core.instant import duration_us, retry_after_us
from outlast.core.limits import DURATION_MAX_US, HOUR, MINUTE, SECOND
from outlast.core.signals import GiveUp, Retry

_FULL_US: Final = 30 * SECOND
_HTTP_WAITS: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: up to `base_us` · `factor`^(attempt − 1), at most `cap_us`.

    With full jitter the delay is drawn evenly from zero to that bound, so that jobs which failed
    together don't come back together (M. Brooker, "Exponential Backoff And Jitter", 2015).
    `step_us` adds as much for each attempt after the first; `curve` replaces all of it.

    >>> Backoff(base_us=1_000_000, jitter=False).delay_us(3, dice=0.5)
    4000000
    """

    base_us: int = 5 * SECOND
    factor: float = 2.0
    cap_us: int = HOUR
    jitter: bool = True
    step_us: int = 0
    curve: Callable[[int], str | float | timedelta] | None = None

    @classmethod
    def exponential(
        cls,
        base: str | float | timedelta = "5s",
        *,
        factor: float = 2.0,
        cap: str | float | timedelta = "1h",
        jitter: bool = True,
    ) -> "Backoff":
        """Wait up to `base`, then `factor` times as long each time, at most `cap`.

        >>> Backoff.exponential("1s", jitter=False).delay_us(4, dice=0.5)
        8000000
        """
        return cls(duration_us(base, field="base"), factor, duration_us(cap, field="cap"), jitter)

    @classmethod
    def linear(
        cls,
        step: str | float | timedelta,
        *,
        cap: str | float | timedelta = "1h",
        jitter: bool = True,
    ) -> "Backoff":
        """Wait up to `step`, then `step` longer each time, at most `cap`.

        >>> Backoff.linear("10s", jitter=False).delay_us(3, dice=0.5)
        30000000
        """
        each = duration_us(step, field="step")
        return cls(each, 1.0, duration_us(cap, field="cap"), jitter, step_us=each)

    @classmethod
    def constant(cls, delay: str | float | timedelta, *, jitter: bool = False) -> "Backoff":
        """Wait as long each time; without jitter, because a fixed time was asked for.

        >>> Backoff.constant("30s").delay_us(7, dice=0.5)
        30000000
        """
        fixed = duration_us(delay, field="delay")
        return cls(fixed, 1.0, fixed, jitter)

    @classmethod
    def by(
        cls, curve: Callable[[int], str | float | timedelta], *, jitter: bool = False
    ) -> "Backoff":
        """Wait as long as a function of the number of failed attempts (≥ 1) says.

        >>> Backoff.by(lambda attempt: [1, 10, 60][min(attempt, 3) - 1]).delay_us(2, dice=0.5)
        10000000
        """
        return cls(cap_us=DURATION_MAX_US, jitter=jitter, curve=curve)

    def delay_us(self, attempt: int, dice: float) -> int:
        """Return the delay before the next attempt, after `attempt` failed ones (≥ 1)."""
        if self.curve is not None:
            bound = float(duration_us(self.curve(attempt), field="backoff"))
        else:
            # The exponent is bounded because a float overflows past 2^1023.
            grown = self.base_us * self.factor ** min(attempt - 1, 200)
            bound = min(float(self.cap_us), grown + self.step_us * (attempt - 1))
        return int(bound * dice) if self.jitter else int(bound)


@dataclass(frozen=True, slots=True)
class Snooze:
    """Try again after a fixed time, without using up an attempt.

    >>> Snooze("1m").after_us
    60000000
    """

    after: str | float | timedelta

    @property
    def after_us(self) -> int:
        """The time in microseconds."""
        return duration_us(self.after, field="after")


GIVE_UP: Final = "give up"
Rule = Backoff | Snooze | Literal["give up"]
Rules = Mapping[type[BaseException], Rule]

NO_RULES: Final[Rules] = MappingProxyType({})
DEFAULT_BACKOFF: Final = Backoff()
LOST_BACKOFF: Final = Backoff(base_us=2 * SECOND)
# Slowly at first: in the midst of a deploy, which worker takes the job next is a matter of luck.
MISSING_BACKOFF: Final = Backoff(base_us=SECOND, factor=1.2, cap_us=MINUTE, jitter=False)


@dataclass(frozen=True, slots=True)
class Course:
    """What follows a failed attempt: whether there is another one, when, and at what cost."""

    again: bool
    backoff: Backoff = DEFAULT_BACKOFF
    after_us: int | None = None  # instead of the backoff
    counts: bool = True
    hint: str | None = None  # why it is another one than was asked for


def course(error: BaseException, rules: Rules, backoff: Backoff, now_us: int) -> Course:
    """Say what follows an error: its own word, then the task's rules, then the backoff.

    The rule of the nearest class counts. An error that carries an HTTP answer of 429 or 503 with
    Retry-After (httpx, requests and aiohttp raise such) waits as long as that says. A full disk
    of Outlast's own costs no attempt.

    What a group holds, as a TaskGroup raises one, is asked one by one, unless only the rules have a
    word, and one for the group: whoever gives up decides, else whoever asks for the longest wait,
    and an attempt is used if one of them uses it.

    >>> course(KeyError("x"), {LookupError: GIVE_UP}, DEFAULT_BACKOFF, now_us=0).again
    False
    >>> course(ExceptionGroup("", [GiveUp(), KeyError()]), NO_RULES, DEFAULT_BACKOFF, 0).again
    False
    """
    if isinstance(error, BaseExceptionGroup):
        held = leaves(error)
        is_ruled = any(
            issubclass(kind, BaseExceptionGroup) for kind in rules.keys() & type(error).__mro__
        )
        if not is_ruled or any(_own_word(one, backoff, now_us) for one in held):
            return _of_all([course(one, rules, backoff, now_us) for one in held])
    own = _own_word(error, backoff, now_us)
    if own is not None:
        return own
    asked = _asked_by_http(error, now_us)
    for kind in type(error).__mro__:
        match rules.get(kind):
            case None:
                continue
            case Snooze() as snooze:
                wait = snooze.after_us if asked is None else asked
                return Course(again=True, after_us=wait, counts=False)
            case Backoff() as other:
                return Course(again=True, backoff=other, after_us=asked)
            case _:
                return Course(again=False)
    return Course(again=True, backoff=backoff, after_us=asked)


def _own_word(error: BaseException, backoff: Backoff, now_us: int) -> Course | None:
    if isinstance(error, Retry):
        return Course(True, backoff, error.delay_us(now_us), error.counts)  # noqa: FBT003
    if isinstance(error, GiveUp | DriftError | InvalidInputError):
        return Course(again=False)
    if isinstance(error, StorageFullError):
        # No fault of the job's, and it lasts until somebody clears up.
        return Course(again=True, after_us=_FULL_US, counts=False)
    return None


def _of_all(courses: list[Course]) -> Course:
    if not all(one.again for one in courses):
        return Course(again=False)
    longest = max(courses, key=lambda one: -1 if one.after_us is None else one.after_us)
    return replace(longest, counts=any(one.counts for one in courses))


def _asked_by_http(error: BaseException, now_us: int) -> int | None:
    response: Any = getattr(error, "response", error)
    status = getattr(response, "status_code", getattr(response, "status", None))
    if not isinstance(status, int) or status not in _HTTP_WAITS:
        return None
    try:
        said = response.headers.get("retry-after")
    except AttributeError:
        return None
    return retry_after_us(said, now_us) if isinstance(said, str) else None


def check_rules(rules: Rules) -> None:
    """Refuse what is no rule when the task is registered; raise InvalidInputError."""
    given: Mapping[Any, Any] = rules
    for kind, rule in given.items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise InvalidInputError(f"on_error: expected exception classes as keys, got {kind!r}")
        if not (isinstance(rule, Backoff | Snooze) or rule == GIVE_UP):
            raise InvalidInputError(
                f"on_error[{kind.__name__}]: expected a Backoff, a Snooze or GIVE_UP, got {rule!r}"
            )
        if isinstance(rule, Snooze):
            duration_us(rule.after, field=f"on_error[{kind.__name__}]")
