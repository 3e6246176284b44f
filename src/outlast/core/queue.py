"""What a queue can be told, in a file or at run time: how long, how many, how fast, on what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import NAME_CHARS_MAX, SECOND
from outlast.core.share import Rate, rate_of

COUNT_MAX: Final = 10**9


def check_queue_name(name: object) -> str | None:
    """Return what is wrong with the name of a queue; None if nothing is."""
    if isinstance(name, str) and 0 < len(name) <= NAME_CHARS_MAX and name.isprintable():
        return None
    return f"expected a name of 1–{NAME_CHARS_MAX} printable characters, got {name!r:.60}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """How a queue's jobs are taken in and run; None leaves it to the task, or means no limit."""

    paused: bool = False  # nothing is started
    draining: bool = False  # nothing is taken in
    max_depth: int | None = None  # how many may wait
    max_duration_us: int | None = None  # how long one attempt may take
    worker_count: int | None = None  # how many run at once on each node that works on the queue
    processes: int = 1  # among which the node divides them
    instance_type: str | None = None  # what kind of machine the node should be
    concurrency: int | None = None  # how many run at once in all
    rate_limit: Rate | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Read what a file or a request says; null leaves a rule out.

        Raises InvalidInputError that lists every unknown name and wrong value at once.
        """
        wrong: list[dict[str, str]] = []
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in _READERS:
                message = f"no such setting; known: {', '.join(_READERS)}"
                wrong.append({"path": f"{name:.80}", "message": message})
            elif value is not None:
                field, reader = _READERS[name]
                try:
                    values[field] = reader(value)
                except InvalidInputError as error:
                    message = error.message.removeprefix("value: ")
                    wrong.append({"path": name, "message": message})
        if wrong:
            text = "; ".join(f"{entry['path']}: {entry['message']}" for entry in wrong[:5])
            raise InvalidInputError(f"queue: {text}", errors=wrong)
        return cls(**values)

    @property
    def admits(self) -> int | None:
        """How many jobs may wait: none more while the queue is drained; None for any number."""
        return 0 if self.draining else self.max_depth

    def told(self) -> dict[str, Any]:
        """Return the rules as the API shows them: seconds, and a rate as it is written."""
        return {
            "paused": self.paused,
            "draining": self.draining,
            "max_depth": self.max_depth,
            "max_duration": self.max_duration_us and self.max_duration_us / SECOND,
            "worker_count": self.worker_count,
            "processes": self.processes,
            "instance_type": self.instance_type,
            "concurrency": self.concurrency,
            "rate_limit": None if self.rate_limit is None else str(self.rate_limit),
        }

    def changed(self, given: Mapping[str, Any]) -> Self:
        """Return these rules with what was said at run time; null there takes a rule away.

        What a newer version may have said is left out.
        """
        known = {name: value for name, value in given.items() if name in _READERS}
        if not known:
            return self
        said = QueueRules.read(known)
        return replace(
            self, **{_READERS[name][0]: getattr(said, _READERS[name][0]) for name in known}
        )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"expected true or false, got {value!r:.60}")
    return value


def _whole(low: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= COUNT_MAX:
            raise InvalidInputError(
                f"expected a whole number from {low} to {COUNT_MAX}, got {value!r:.60}"
            )
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS_MAX:
        raise InvalidInputError(f"expected 1–{NAME_CHARS_MAX} characters, got {value!r:.60}")
    return value


def _duration(value: Any) -> int:
    found = duration_us(value, field="value")
    if not found:
        raise InvalidInputError(f"expected a duration longer than nothing, got {value!r:.60}")
    return found


_READERS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "paused": ("paused", _flag),
    "draining": ("draining", _flag),
    "max_depth": ("max_depth", _whole(0)),
    "max_duration": ("max_duration_us", _duration),
    "worker_count": ("worker_count", _whole(1)),
    "processes": ("processes", _whole(1)),
    "instance_type": ("instance_type", _text),
    "concurrency": ("concurrency", _whole(0)),
    "rate_limit": ("rate_limit", lambda value: rate_of(value, field="value")),
}
QUEUE_SETTINGS: Final = tuple(_READERS)
