"""What a test sees of its jobs, and how a failed assertion tells what there was instead."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final

from pydantic_core import from_json, to_json

from outlast.blobs.local import LocalStore
from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, JobRecord, NewJob
from outlast.core.payload import moved
from outlast.core.status import Status
from outlast.sdk.submission import NO_OPTIONS, Options, new_job
from outlast.sdk.task import Task
from outlast.sdk.task_handle import TaskHandle

_FIELDS: Final = {
    name: {
        "delay": "delay_us",
        "run_at": "run_at_us",
        "timeout": "timeout_us",
        "deadline": "deadline_us",
        "expires_in": "expires_in_us",
    }.get(name, name)
    for name in (field.name for field in fields(Options))
    if name != "unique"  # says what a further submit gets, and nothing of the job itself
}
_LISTED_MAX: Final = 20
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands: what was submitted, and all that has become of it."""

    _new: NewJob
    _plain: NewJob  # as one that asks for nothing beyond its task's policy
    _row: JobRecord
    _history: list[Event]
    _store: LocalStore

    @property
    def id(self) -> str:
        """The job's ID."""
        return self._row.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._row.task

    @property
    def args(self) -> dict[str, Any]:
        """The arguments, as JSON values."""
        found: dict[str, Any] = from_json(self._text(self._row.args))
        return found

    def _text(self, text: str) -> str:
        large = moved(text)
        return text if large is None else self._store.load(large.key).decode()

    @property
    def options(self) -> dict[str, Any]:
        """What the submit asked for beyond the task's defaults, ready to be read."""
        return {
            name: _shown(field, value)
            for name, field in _FIELDS.items()
            if (value := getattr(self._new, field)) != getattr(self._plain, field)
        }

    @property
    def status(self) -> Status:
        """How it stands; compares equal to the status's name."""
        return self._row.status

    @property
    def attempts(self) -> int:
        """How often it was started, in all of its runs."""
        return sum(event.type == "started" for event in self._history)

    @property
    def events(self) -> list[str]:
        """The types of its events, in order."""
        return [event.type for event in self._history]

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the data of its events of one type, in order."""
        return [from_json(one.data) for one in self._history if one.type == event]

    @property
    def steps(self) -> dict[str, Any]:
        """The results of its steps, by their names, in the order in which they were kept."""
        return {
            step["name"]: from_json(self._store.load(step["blob"]))
            if "blob" in step
            else step["result"]
            for step in self.told("step")
        }

    @property
    def logs(self) -> list[str]:
        """The lines that it logged or printed."""
        return [line["message"] for line in self.told("log")]

    @property
    def progress(self) -> dict[str, Any] | None:
        """The last progress that it told."""
        return from_json(self._row.progress) if self._row.progress else None

    @property
    def error(self) -> dict[str, Any] | None:
        """Its last error."""
        return from_json(self._row.error) if self._row.error else None

    @property
    def result(self) -> Any:
        """What it returned; an AssertionError that tells how it stands when it has not."""
        __tracebackhide__ = True
        if self.status is Status.COMPLETED:
            return from_json(self._text(self._row.result or "null"))
        why = f"\n{self.error.get('traceback', self.error['message'])}" if self.error else ""
        raise AssertionError(f"job {self} has no result: it is {self.status}{why}")

    @property
    def files(self) -> list[str]:
        """The names of the files that it saved."""
        return [entry["name"] for entry in from_json(self._row.artifacts)]

    def file(self, name: str) -> bytes:
        """Return a file that it saved."""
        for entry in from_json(self._row.artifacts):
            if entry["name"] == name:
                return self._store.load(entry["blob"])
        raise NotFoundError(f"job {self}: no file {name!r:.80} among {self.files}")

    def __str__(self) -> str:
        return _call(self.task, self.args, self.options)

    def __repr__(self) -> str:
        return f"<{self}: {self.status}>"


def plain_job(task: Task | None, options: Options = NO_OPTIONS) -> NewJob:
    """Make a job of a task's policy and these options; its arguments don't matter."""
    if task is None:
        return NewJob(id="", task="")
    return new_job(Task("any", lambda: None, replace(task.policy, unique=None)), {}, options)


def _shown(field: str, value: Any) -> Any:
    if field == "run_at_us":
        return to_rfc3339(value)
    if field.endswith("_us") and value is not None:
        return str(timedelta(microseconds=value))
    return value


def _call(task: str, args: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name}={value!r}" for name, value in args.items())
    asked = ", ".join(f"{name}={value}" for name, value in options.items())
    return f"{task}({said})" + (f" with {asked}" if asked else "")


class Wanted:
    """A job as an assertion asks for it: a task, with some of its arguments and options."""

    def __init__(
        self, handle: TaskHandle[Any, Any], args: Iterable[Any], named: Mapping[str, Any]
    ) -> None:
        self.task: Task = handle.task
        self._given = self._bound(args, named)
        self._args = {name: from_json(to_json(value)) for name, value in self._given.items()}
        if handle.chosen.unique is not None:
            raise InvalidInputError(
                f"task {self.task.name}: unique can't be asked for in an assertion",
                hint="submit twice, and look at what there is",
            )
        asked = {
            name: value for name in _FIELDS if (value := getattr(handle.chosen, name)) is not None
        }
        model = plain_job(self.task, handle.chosen)
        self._options = {name: getattr(model, _FIELDS[name]) for name in asked}

    def _bound(self, args: Iterable[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Name the arguments; a wrong name must not make an assertion pass."""
        try:
            return self.task.bind_some(*args, **named)
        except TypeError as error:
            raise InvalidInputError(f"task {self.task.name}: {error}") from error

    def __str__(self) -> str:
        shown = {name: _shown(_FIELDS[name], value) for name, value in self._options.items()}
        return _call(self.task.name, self._given, shown)

    def differences(self, job: JobView) -> list[str]:
        """Say where a job of the same task is not what was asked for."""
        filled = self.task.args_model.model_validate_json(to_json(job.args))
        got = from_json(filled.model_dump_json())
        wrong = [
            f"{name}: expected {value!r}, got {got.get(name)!r}"
            for name, value in self._args.items()
            if got.get(name, _ABSENT) != value
        ]
        for name, value in self._options.items():
            field = _FIELDS[name]
            there = getattr(job._new, field)
            if there != value:
                wrong.append(f"{name}: expected {_shown(field, value)}, got {_shown(field, there)}")
        return wrong


def missed(wanted: Wanted, jobs: list[JobView]) -> str:
    """Say what was submitted instead, the likest first."""
    same = [(wanted.differences(job), job) for job in jobs if job.task == wanted.task.name]
    lines = [f"no job {wanted} was submitted"]
    for wrong, job in sorted(same, key=lambda pair: len(pair[0]))[:_LISTED_MAX]:
        lines += [f"  but {job}", *(f"      {difference}" for difference in wrong)]
    others = [f"  but {job}" for job in jobs if job.task != wanted.task.name]
    lines += others[: max(0, _LISTED_MAX - len(same))]
    if len(jobs) > _LISTED_MAX:
        lines.append(f"  and more: {len(jobs)} jobs in all")
    return "\n".join(lines if jobs else [*lines, "  nothing was submitted"])
