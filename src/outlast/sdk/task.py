"""A task: a function with a name, a policy, and argument types read from its hints."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from outlast.core.confinement import (
    NOTHING_SAID,
    WIDEST,
    Confinement,
    Env,
    read_env,
    size_bytes,
)
from outlast.core.effects import Effects
from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import (
    ATTEMPTS_MAX,
    NAME_CHARS_MAX,
    PAYLOAD_INLINE_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    SECOND,
)
from outlast.core.payload import moved
from outlast.core.queue import ISOLATIONS, QueueRules
from outlast.core.retry import DEFAULT_BACKOFF, NO_RULES, Backoff, Rules, check_rules
from outlast.core.share import NO_LIMIT, Limit
from outlast.core.unique import Unique
from outlast.sdk.capture import Voice, speaking
from outlast.sdk.context import Job
from outlast.sdk.sync_context import SyncJob
from outlast.sdk.threads import in_thread
from outlast.sdk.written import finite, written

_FORBID: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task's jobs are run unless a submit says otherwise."""

    queue: str = "default"
    max_attempts: int = 4
    timeout_us: int | None = None
    priority: int = 0
    backoff: Backoff = DEFAULT_BACKOFF
    on_error: Rules = field(default_factory=lambda: NO_RULES)
    isolation: str | None = None  # None: as the job's queue says
    deadline_us: int | None = None
    stall_us: int | None = None
    grace_us: int = 10 * SECOND
    unique: Unique | None = None
    confinement: Confinement = NOTHING_SAID
    limit: Limit = NO_LIMIT

    def __post_init__(self) -> None:
        """Refuse what could not be kept, when the task is registered and not when it runs."""
        if not 1 <= self.max_attempts <= ATTEMPTS_MAX:
            raise InvalidInputError(
                f"retries: expected 0–{ATTEMPTS_MAX - 1}, got {self.max_attempts - 1}"
            )
        if not PRIORITY_MIN <= self.priority <= PRIORITY_MAX:
            raise InvalidInputError(
                f"priority: expected {PRIORITY_MIN} to {PRIORITY_MAX}, got {self.priority}"
            )
        if not 0 < len(self.queue) <= NAME_CHARS_MAX or not self.queue.isprintable():
            raise InvalidInputError(f"queue: expected a printable name, got {self.queue!r:.80}")
        check_rules(self.on_error)
        if self.isolation not in {None, *ISOLATIONS}:
            expected = f"expected {' or '.join(ISOLATIONS)}"
            raise InvalidInputError(f"isolation: {expected}, got {self.isolation!r:.80}")

    def in_queue(self, rules: QueueRules) -> "Policy":
        """Return it with what a queue says of isolation where the task itself says nothing."""
        return replace(
            self,
            isolation=self.isolation or rules.isolation,
            confinement=self.confinement.or_else(rules.walls).or_else(WIDEST),
        )


def policy_of(  # noqa: PLR0913 - a policy has many optional parts
    *,
    queue: str = "default",
    retries: int = 3,
    timeout: str | float | timedelta | None = None,
    deadline: str | float | timedelta | None = None,
    stall_after: str | float | timedelta | None = None,
    grace: str | float | timedelta = "10s",
    priority: int = 0,
    backoff: Backoff = DEFAULT_BACKOFF,
    on_error: Rules = NO_RULES,
    isolation: str | None = None,
    unique: Unique | bool | None = None,
    memory: str | int | None = None,
    cpu_time: str | float | timedelta | None = None,
    max_processes: int | None = None,
    max_files: int | None = None,
    env: Env = (),
    concurrency: int | None = None,
    rate: str | None = None,
) -> Policy:
    """Read a policy as `app.task` takes it."""
    walls = {
        "memory": memory,
        "cpu_time": cpu_time,
        "max_processes": max_processes,
        "max_files": max_files,
        "env": env or None,
    }
    if isolation != "process" and (given := [n for n, v in walls.items() if v is not None]):
        raise InvalidInputError(
            f"{', '.join(given)}: expected only with isolation, which the task does not have",
            hint='add isolation="process"',
        )
    passes, passes_all, sets = read_env(env)
    confinement = Confinement(
        memory=None if memory is None else size_bytes(memory),
        cpu_us=None if cpu_time is None else duration_us(cpu_time, field="cpu_time"),
        processes=max_processes,
        files=max_files,
        passes=passes,
        passes_all=passes_all,
        sets=sets,
    )
    limits = {"timeout": timeout, "deadline": deadline, "stall_after": stall_after}
    read = {
        name: None if limit is None else duration_us(limit, field=name)
        for name, limit in limits.items()
    }
    return Policy(
        queue=queue,
        max_attempts=retries + 1,
        priority=priority,
        backoff=backoff,
        on_error=on_error,
        isolation=isolation,
        timeout_us=read["timeout"],
        deadline_us=read["deadline"],
        stall_us=read["stall_after"],
        grace_us=duration_us(grace, field="grace"),
        unique=Unique.read(unique) if unique else None,
        confinement=confinement,
        limit=Limit.of({"concurrency": concurrency, "rate": rate}),
    )


@dataclass(slots=True)
class Task:
    """A registered function; `app.task` makes it and `submit` sends work to it."""

    name: str
    fn: Callable[..., Any]
    policy: Policy
    args_model: type[BaseModel] = field(init=False)
    _result: TypeAdapter[Any] = field(init=False)
    _context: str | None = field(init=False, default=None)
    _is_async: bool = field(init=False)
    _signature: inspect.Signature = field(init=False)

    def __post_init__(self) -> None:
        if inspect.isgeneratorfunction(self.fn) or inspect.isasyncgenfunction(self.fn):
            raise InvalidInputError(
                f"task {self.name}: expected a function that returns, got one that yields",
                hint="return a list; for a long loop that goes on where it was, see job.resume",
            )
        hints = get_type_hints(self.fn, include_extras=True)
        signature = inspect.signature(self.fn)
        fields: dict[str, Any] = {}
        parameters: list[inspect.Parameter] = []
        for index, (name, parameter) in enumerate(signature.parameters.items()):
            hint = hints.get(name, Any)
            if index == 0 and hint in {Job, SyncJob}:
                self._context = name
                continue
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                raise InvalidInputError(
                    f"task {self.name}: parameter *{name} has no types to check; name each argument"
                )
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hint, default)
            parameters.append(parameter)
        unknown = set((self.policy.unique and self.policy.unique.by) or ()) - fields.keys()
        if unknown:
            raise InvalidInputError(
                f"task {self.name}: unique.by: expected arguments of it, got {sorted(unknown)}"
            )
        self.args_model = create_model(f"{self.name}_args", __config__=_FORBID, **fields)
        self._signature = signature.replace(parameters=parameters)
        self._result = TypeAdapter(hints.get("return", Any))
        self._is_async = inspect.iscoroutinefunction(self.fn)

    @property
    def queue(self) -> str:
        """The queue that its jobs go to by default."""
        return self.policy.queue

    def args_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its arguments."""
        return self.args_model.model_json_schema()

    def result_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its result."""
        return self._result.json_schema(mode="serialization")

    def bind(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Name the arguments of a call as the function would."""
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidInputError(
                f"task {self.name}: {error}; expected {self.name}{self._signature}",
                errors=[{"path": "args", "message": str(error)}],
            ) from error

    def bind_some(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Name some arguments of a call; raise TypeError for one that the function has not."""
        return dict(self._signature.bind_partial(*args, **kwargs).arguments)

    def encode(self, args: Mapping[str, Any]) -> str:
        """Check the arguments against the hints and write them as JSON.

        Raises InvalidInputError that lists each wrong one as `{"path", "message"}`.
        """
        try:
            raw = to_json(args)
            text = finite(raw.decode(), "args")
            self.args_model.__pydantic_validator__.validate_json(raw, strict=True)
        except ValidationError as error:
            errors = [_located(entry) for entry in error.errors(include_url=False)]
            listed = "; ".join(f"{e['path']}: {e['message']}" for e in errors[:5])
            raise InvalidInputError(
                f"task {self.name}: invalid arguments: {listed}", errors=errors
            ) from error
        except (PydanticSerializationError, UnicodeError, ValueError) as error:
            raise InvalidInputError(
                f"task {self.name}: arguments can't be written as JSON: {error}",
                errors=[{"path": "args", "message": str(error)}],
            ) from error
        return text

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt; return the result as JSON, or a reference to a large one."""
        args = effects.lease.args
        if moved(args) is not None:
            args = await effects.unshelve(args)
        model = self.args_model.__pydantic_validator__.validate_json(args)
        kwargs = model.__dict__
        voice = Voice(effects)
        speaking.set(voice)  # each attempt has a context of its own
        try:
            if not self._is_async:
                result = await self._in_thread(effects, voice, kwargs)
            elif self._context is not None:
                result = await self.fn(voice.of_job(), **kwargs)
            else:
                result = await self.fn(**kwargs)
        finally:
            voice.end()
        if result is None:
            return "null"
        text = written(self._result, result, f"task {self.name}: its result")
        # Most results are small: nobody has to be asked, or waited for.
        return text if len(text) <= PAYLOAD_INLINE_MAX // 4 else await effects.shelve(text)

    async def _in_thread(self, effects: Effects, voice: Voice, kwargs: dict[str, Any]) -> Any:
        if self._context is None:
            return await in_thread(effects.stopping, self.fn, **kwargs)
        job = SyncJob(voice.of_job(), asyncio.get_running_loop())
        return await in_thread(effects.stopping, self.fn, job, **kwargs)


def _located(entry: Any) -> dict[str, str]:
    path = ".".join(["args", *(str(part) for part in entry["loc"])])
    given = (
        f", got {entry['input']!r:.60}" if entry["type"] not in {"missing", "json_invalid"} else ""
    )
    return {"path": path, "message": f"{entry['msg']}{given}"}
