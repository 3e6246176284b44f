"""What a queue can be told, in a file or at run time: how long, how many, how fast, on what.

What is said of isolation is for tasks that say nothing of it themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

from outlast.core.confinement import COUNT_MAX as WALL_MAX
from outlast.core.confinement import COUNT_MIN as WALL_MIN
from outlast.core.confinement import Confinement, size_bytes
from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import NAME_CHARS_MAX, SECOND
from outlast.core.share import Rate, rate_of

COUNT_MAX: Final = 10**9
ISOLATIONS: Final = ("none", "process")


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
    isolation: str | None = None  # process: each job has one of its own, with these walls around it
    memory: int | None = None
    cpu_us: int | None = None
    max_processes: int | None = None
    max_files: int | None = None
    broker: str | None = None  # the URL of what carries its tickets; only a file says it

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Read what a file says; null leaves a rule out.

        Raises InvalidInputError that lists every unknown name and wrong value at once.
        """
        return cls().told_to(given)

    def told_to(self, given: Mapping[str, Any]) -> Self:
        """Return these rules with what somebody says; null takes a rule away.

        Raises InvalidInputError that lists all that is wrong, a wall that would hold nothing, too.
        """
        wrong: list[dict[str, str]] = []
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in _READERS:
                message = f"no such setting; known: {', '.join(_READERS)}"
                wrong.append({"path": f"{name:.80}", "message": message})
                continue
            try:
                values |= _read(name, value)
            except InvalidInputError as error:
                message = error.message.removeprefix("value: ")
                wrong.append({"path": name, "message": message})
        said = values.get("isolation", self.isolation)
        if said != "process" and not any(entry["path"] == "isolation" for entry in wrong):
            message = "expected only with isolation: process beside it"
            bare = [name for name in _WALLS if values.get(_READERS[name][0]) is not None]
            wrong += [{"path": name, "message": message} for name in bare]
        if wrong:
            text = "; ".join(f"{entry['path']}: {entry['message']}" for entry in wrong[:5])
            raise InvalidInputError(f"queue: {text}", errors=wrong)
        return replace(self, **values)

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
            "isolation": self.isolation,
            "memory": self.memory,
            "cpu_time": self.cpu_us and self.cpu_us / SECOND,
            "max_processes": self.max_processes,
            "max_files": self.max_files,
            "broker": self.broker and kind_of(self.broker),
        }

    @property
    def walls(self) -> Confinement:
        """What bounds the jobs that have a process of their own."""
        return Confinement(self.memory, self.cpu_us, self.max_processes, self.max_files)

    @property
    def confines(self) -> bool:
        """Whether anything is said of how its jobs are isolated."""
        walls = (self.isolation, self.memory, self.cpu_us, self.max_processes, self.max_files)
        return any(wall is not None for wall in walls)

    def changed(self, given: Mapping[str, Any]) -> Self:
        """Return these rules with what was said at run time; null there takes a rule away.

        What a newer version may have said is left out.
        """
        values: dict[str, Any] = {}
        for name in given.keys() & _READERS.keys():
            values |= _read(name, given[name])
        return replace(self, **values) if values else self


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"expected true or false, got {value!r:.60}")
    return value


def _whole(low: int, high: int = COUNT_MAX) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInputError(
                f"expected a whole number from {low} to {high}, got {value!r:.60}"
            )
        return value

    return read


def kind_of(broker: str) -> str:
    """Return of which kind a broker is: all of its URL that anybody may see.

    >>> kind_of("redis://ann:secret@cache.test/1"), kind_of("ledger")
    ('redis', 'ledger')
    """
    return broker.partition("://")[0]


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS_MAX:
        raise InvalidInputError(f"expected 1–{NAME_CHARS_MAX} characters, got {value!r:.60}")
    return value


def _isolation(value: object) -> str:
    if value not in ISOLATIONS:
        raise InvalidInputError(f"expected {' or '.join(ISOLATIONS)}, got {value!r:.60}")
    return str(value)


def _broker(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInputError("expected ledger, or the URL of a broker")  # may have a password
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
    "isolation": ("isolation", _isolation),
    "memory": ("memory", lambda value: size_bytes(value, field="value")),
    "cpu_time": ("cpu_us", _duration),
    "max_processes": ("max_processes", _whole(WALL_MIN, WALL_MAX)),
    "max_files": ("max_files", _whole(WALL_MIN, WALL_MAX)),
    "broker": ("broker", _broker),
}
_WALLS: Final = ("memory", "cpu_time", "max_processes", "max_files")
_DEFAULTS: Final[dict[str, Any]] = {item.name: item.default for item in fields(QueueRules)}
QUEUE_SETTINGS: Final = tuple(_READERS)


def _read(name: str, value: object) -> dict[str, Any]:
    field, reader = _READERS[name]
    return {field: _DEFAULTS[field] if value is None else reader(value)}
