"""From a task, arguments and options to a job that the ledger can insert."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from pydantic_core import PydanticSerializationError, from_json, to_json

from outlast.core.errors import InvalidInputError, TooLargeError
from outlast.core.instant import Duration, duration_us, from_rfc3339
from outlast.core.job import NewJob
from outlast.core.limits import (
    ATTEMPTS_MAX,
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    NOTIFY_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    ROW_ARGS_MAX,
    TAGS_MAX,
)
from outlast.core.unique import Sole, Unique
from outlast.sdk.task import Task
from outlast.system import new_id


@dataclass(frozen=True, slots=True)
class Options:
    """What a submit may say beyond the arguments; None means the task's default."""

    queue: str | None = None
    priority: int | None = None
    delay: Duration | None = None
    run_at: str | datetime | None = None
    max_attempts: int | None = None
    timeout: Duration | None = None
    deadline: Duration | None = None
    expires_in: Duration | None = None
    concurrency_key: str | None = None
    tags: list[str] | tuple[str, ...] | None = None
    notify: list[dict[str, Any]] | None = None
    key: str | None = None
    unique: Unique | bool | Mapping[str, Any] | None = None


NO_OPTIONS: Final = Options()


class Problems:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    def text(self, path: str, value: object, limit: int) -> None:
        if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
            self.say(path, f"expected 1–{limit} printable characters, got {value!r:.60}")

    def whole(self, path: str, value: object, low: int, high: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.say(path, f"expected a whole number from {low} to {high}, got {value!r:.60}")

    def duration(self, path: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            return duration_us(value, field=path)
        except InvalidInputError as error:
            self.say(path, f"{error.facts['errors'][0]['message']}, got {value!r:.60}")  # type: ignore[index]
            return None

    def instant(self, path: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            return from_rfc3339(value.isoformat() if isinstance(value, datetime) else value)
        except InvalidInputError as error:
            self.say(path, f"{error.facts['errors'][0]['message']}, got {value!r:.60}")  # type: ignore[index]
            return None

    def say(self, path: str, message: str) -> None:
        self.found.append({"path": path, "message": message})


def new_job(
    task: Task,
    args: Mapping[str, Any],
    options: Options = NO_OPTIONS,
    *,
    tenant: str = "",
    max_depth: int | None = None,
) -> NewJob:
    """Check everything and build the job; raise InvalidInputError that lists all that is wrong."""
    policy = task.policy
    if options is NO_OPTIONS and policy.unique is None:
        # The hot path: nothing to check beyond the arguments.
        return NewJob(
            id=new_id(),
            task=task.name,
            args=task.encode(args),
            tenant=tenant,
            queue=policy.queue,
            priority=policy.priority,
            max_attempts=policy.max_attempts,
            timeout_us=policy.timeout_us,
            deadline_us=policy.deadline_us,
            max_depth=max_depth,
        )
    problems = Problems()
    times = _times(options, problems)
    _check_rest(options, problems)
    unique = _unique(task, options, problems)
    encoded = ""
    try:
        encoded = task.encode(args)
    except InvalidInputError as error:
        problems.found += error.facts.get("errors", [])  # type: ignore[arg-type]
        if not problems.found:
            raise
    sole = _sole(task, encoded, unique, tenant, problems) if encoded and unique else None
    if problems.found:
        listed = "; ".join(f"{e['path']}: {e['message']}" for e in problems.found[:5])
        raise InvalidInputError(
            f"task {task.name}: invalid request: {listed}", errors=problems.found
        )
    return NewJob(
        id=new_id(),
        task=task.name,
        args=encoded,
        tenant=tenant,
        queue=options.queue or policy.queue,
        priority=policy.priority if options.priority is None else options.priority,
        delay_us=_delay_us(times["delay"], unique),
        run_at_us=times["run_at"],
        max_attempts=options.max_attempts or policy.max_attempts,
        timeout_us=policy.timeout_us if times["timeout"] is None else times["timeout"],
        deadline_us=policy.deadline_us if times["deadline"] is None else times["deadline"],
        expires_in_us=times["expires_in"],
        concurrency_key=options.concurrency_key,
        tags=json.dumps(list(options.tags or ())),
        notify=to_json(options.notify or []).decode(),
        key=options.key,
        fingerprint=_fingerprint(task.name, encoded, options) if options.key else "",
        sole=sole,
        max_depth=max_depth,
    )


def _unique(task: Task, options: Options, problems: Problems) -> Unique | None:
    if options.unique is None:
        return task.policy.unique
    if options.unique is False:
        return None
    try:
        return Unique.read(options.unique)
    except InvalidInputError as error:
        problems.found += error.facts.get("errors", [])  # type: ignore[arg-type]
        return None


def _sole(task: Task, encoded: str, unique: Unique, tenant: str, problems: Problems) -> Sole | None:
    """Name the intention: a tenant's task with the arguments that count."""
    try:
        chosen = unique.chosen(from_json(encoded), task.name)
    except InvalidInputError as error:
        problems.found += error.facts.get("errors", [])  # type: ignore[arg-type]
        return None
    text = json.dumps([tenant, task.name, chosen], sort_keys=True, separators=(",", ":"))
    return unique.sole(sha256(text.encode()).hexdigest())


def _delay_us(asked: int | None, unique: Unique | None) -> int:
    if asked is None and unique is not None:
        asked = unique.wait_us
    return asked or 0


def check_key(key: str | None) -> None:
    """Refuse a key that can't be one, of a job that is not made of options."""
    problems = Problems()
    if key is not None:
        problems.text("idempotency_key", key, KEY_CHARS_MAX)
    for fault in problems.found:
        raise InvalidInputError(f"{fault['path']}: {fault['message']}", errors=problems.found)


def guard_row(job: NewJob, which: str) -> None:
    """Refuse arguments that are too large for a row, of a job that may have no file."""
    size = len(job.args.encode())
    if size > ROW_ARGS_MAX:
        raise TooLargeError(
            f"task {job.task}: arguments {which} have at most {ROW_ARGS_MAX} bytes, got {size}",
            hint="store the data elsewhere and pass where it lies",
        )


def _times(options: Options, problems: Problems) -> dict[str, int | None]:
    if options.delay is not None and options.run_at is not None:
        problems.say("run_at", "expected one of delay and run_at, got both")
    times = {
        name: problems.duration(name, getattr(options, name))
        for name in ("delay", "timeout", "deadline", "expires_in")
    }
    return {**times, "run_at": problems.instant("run_at", options.run_at)}


def _check_rest(options: Options, problems: Problems) -> None:
    for name, limit in (
        ("queue", NAME_CHARS_MAX),
        ("key", KEY_CHARS_MAX),
        ("concurrency_key", KEY_CHARS_MAX),
    ):
        value = getattr(options, name)
        if value is not None:
            problems.text("idempotency_key" if name == "key" else name, value, limit)
    if options.priority is not None:
        problems.whole("priority", options.priority, PRIORITY_MIN, PRIORITY_MAX)
    if options.max_attempts is not None:
        problems.whole("max_attempts", options.max_attempts, 1, ATTEMPTS_MAX)
    for name, limit in (("tags", TAGS_MAX), ("notify", NOTIFY_MAX)):
        value = getattr(options, name)
        if value is not None and (not isinstance(value, list | tuple) or len(value) > limit):
            problems.say(name, f"expected a list of at most {limit}, got {value!r:.60}")
    targets: Any = options.notify
    if isinstance(targets, list | tuple):
        for index, target in enumerate(targets):
            if not isinstance(target, dict) or not _is_json(target):
                problems.say(f"notify.{index}", f"expected a JSON object, got {target!r:.60}")
    if isinstance(options.tags, list | tuple):
        for index, tag in enumerate(options.tags):
            problems.text(f"tags.{index}", tag, NAME_CHARS_MAX)


def _is_json(value: object) -> bool:
    try:
        to_json(value)
    except (PydanticSerializationError, ValueError):
        return False
    return True


def _fingerprint(task: str, args: str, options: Options) -> str:
    """Name the request, so that a repeat is told from another request under the same key."""
    said = [
        task,
        json.loads(args),
        options.queue,
        options.priority,
        options.delay,
        options.run_at,
        options.max_attempts,
        options.timeout,
        options.deadline,
        options.expires_in,
        options.concurrency_key,
        list(options.tags or ()),
        options.notify or [],
        *([] if options.unique is None else [options.unique]),
    ]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()


__all__ = ["NO_OPTIONS", "Options", "Problems", "check_key", "guard_row", "new_job"]
