"""The app: a registry of tasks and schedules, and the way to submit work to them."""

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from outlast.blobs import Blobs, open_blobs
from outlast.broker.relayed import relayed
from outlast.core.confinement import Env
from outlast.core.errors import (
    InvalidInputError,
    NotFoundError,
)
from outlast.core.instant import Duration
from outlast.core.job import Inserted, NewJob
from outlast.core.limits import NAME_CHARS_MAX, PAYLOAD_INLINE_MAX
from outlast.core.queue import QueueRules
from outlast.core.retry import DEFAULT_BACKOFF, NO_RULES, Backoff, Rules
from outlast.core.unique import Unique
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.command import CommandResult, CommandTask, read_recipe, stand_in
from outlast.sdk.handle import Handle
from outlast.sdk.limits import set_limit
from outlast.sdk.parsers import Parser
from outlast.sdk.queues import Rulebook
from outlast.sdk.refusals import refusal
from outlast.sdk.schedules import Schedules, said_of
from outlast.sdk.settings import Settings
from outlast.sdk.submission import guard_row
from outlast.sdk.task import Task, policy_of
from outlast.sdk.task_handle import TaskHandle
from outlast.sdk.web import Receive, Scope, Send, Web, web_of
from outlast.system import CLOCK

P = ParamSpec("P")
R = TypeVar("R")


class Outlast:
    """Registers tasks, submits jobs, and says where the ledger is.

    >>> app = Outlast(ledger="sqlite:///outlast.db")
    >>> @app.task(queue="slow", retries=2)
    ... async def add(a: int, b: int) -> int:
    ...     return a + b
    >>> app.tasks["add"].policy.max_attempts
    3
    """

    def __init__(self, **settings: Any) -> None:
        self._given = settings
        self._settings: Settings | None = None
        self._tasks: dict[str, Task] = {}
        self._ledger: Ledger | None = None
        self._blobs: Blobs | None = None
        self.rules = Rulebook(self._configured, CLOCK)
        self._is_lent = False
        self._opened_by = 0
        self._inherited: list[Ledger] = []
        self._web: Web | None = None
        self._before_close: list[Callable[[], Awaitable[None]]] = []
        self.schedules = Schedules(self)

    @property
    def settings(self) -> Settings:
        """The settings, read on first use, so that flags and variables can still be set."""
        if self._settings is None:
            self._settings = Settings.load(**self._given)
        return self._settings

    @property
    def given(self) -> Mapping[str, Any]:
        """The settings that its code gives."""
        return self._given

    def configure(self, settings: Settings) -> None:
        """Use these settings; what was given to the constructor stays for what they leave out."""
        self._settings = settings
        self.rules = Rulebook(self._configured, CLOCK)

    def _configured(self, queue: str) -> QueueRules:
        return self.settings.rules(queue)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The registered tasks by name."""
        return self._tasks

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""
        if self._ledger is None:
            raise InvalidInputError("the app is not open", hint="use `async with app:` first")
        return self._ledger

    @property
    def blobs(self) -> Blobs:
        """The blob store."""
        if self._blobs is None:
            size = self.settings.max_payload
            self._blobs = open_blobs(self.settings.blobs, payload_max=size)
        return self._blobs

    @contextmanager
    def using(self, ledger: Ledger, blobs: Blobs) -> Iterator[None]:
        """Use these stores while the block lasts, whatever the settings say.

        Opening and closing the app does nothing meanwhile: who made the stores closes them.
        """
        before = (self._ledger, self._blobs, self._is_lent, self.rules)
        self._ledger, self._blobs, self._is_lent = ledger, blobs, True
        self.rules = Rulebook(self._configured, CLOCK)
        try:
            yield
        finally:
            self._ledger, self._blobs, self._is_lent, self.rules = before

    async def open(self, *, ledger: Ledger | None = None) -> "Outlast":
        """Open the ledger and bring its schema up to date; does nothing when it is open."""
        if self._ledger is not None and self._opened_by != os.getpid() and not self._is_lent:
            # A fork must not touch its parent's connections, not even to close them.
            self._inherited.append(self._ledger)
            self._ledger = None
            self._before_close.clear()
        if self._ledger is None:
            opened = ledger or open_ledger(self.settings.ledger)
            try:
                opened = relayed(opened, self.settings.routes)
                await opened.migrate()
            except BaseException:
                await opened.close()
                raise
            self._ledger, self._opened_by = opened, os.getpid()
        return self

    def before_close(self, call: Callable[[], Awaitable[None]]) -> None:
        """Let this happen once, when the app is closed but its ledger is still open."""
        self._before_close.append(call)

    async def close(self) -> None:
        """Close the ledger."""
        while self._before_close:
            await self._before_close.pop()()
        if self._ledger is not None and not self._is_lent:
            ledger, self._ledger = self._ledger, None
            await ledger.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application: the API and the dashboard, to be mounted in another one.

        Under `app.mount("/jobs", this)` it opens with the first request; whoever mounts it closes
        it with `async with` around the whole. Without API keys it answers this machine only.
        """
        if self._web is None:
            self._web = web_of(self)
        await self._web(scope, receive, send)

    @overload
    def task(self, fn: Callable[P, Awaitable[R]], /) -> TaskHandle[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> TaskHandle[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str = "default",
        retries: int = 3,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
        stall_after: Duration | None = None,
        grace: Duration = "10s",
        priority: int = 0,
        backoff: Backoff = DEFAULT_BACKOFF,
        on_error: Rules = NO_RULES,
        isolation: Literal["none", "process"] | None = None,
        unique: Unique | bool | None = None,
        memory: str | int | None = None,
        cpu_time: Duration | None = None,
        max_processes: int | None = None,
        max_files: int | None = None,
        env: Env = (),
        concurrency: int | None = None,
        rate: str | None = None,
    ) -> Callable[[Callable[P, Any]], TaskHandle[P, Any]]: ...

    def task(  # type: ignore[misc]
        self, fn: Callable[..., Any] | None = None, /, *, name: str | None = None, **policy: Any
    ) -> Any:
        """Register a function as a task; `retries` is how often it is tried again after the first.

        `timeout` bounds one attempt, `deadline` the whole job from its submit, and `stall_after`
        the time without a sign of progress; there is none of them unless given. An attempt that
        must stop has `grace` to do so; then its process is killed, or replaced. `on_error` says for
        exception classes what follows instead of the backoff: another `Backoff`, a `Snooze`, or
        `GIVE_UP`, which dead-letters at once. `isolation="process"` runs each job in its own
        process, which a time limit can kill, and which `memory`, `cpu_time`, `max_processes`,
        `max_files` and `env` confine: see docs/isolation.md; a task that says nothing of these gets
        what its job's queue says. `unique` says which of the task's jobs are the same intention,
        and what a further one gets. `concurrency` and `rate` bound how many of the task's jobs run
        at once and start, on all workers together. Raises InvalidInputError for what can't be kept.
        """
        chosen_policy = policy_of(**policy)

        def register(fn: Callable[..., Any]) -> TaskHandle[..., Any]:
            return self._register(Task(name or fn.__name__, fn, chosen_policy))

        return register if fn is None else register(fn)

    def command(
        self,
        name: str,
        argv: Sequence[str],
        *,
        args: Mapping[str, Any] = MappingProxyType({}),
        progress: Parser | str | None = None,
        keep: Sequence[str] = (),
        ok_exit_codes: Sequence[int] = (0,),
        **policy: Any,
    ) -> TaskHandle[..., CommandResult]:
        """Register a program as a task; each job runs it in a process and a folder of its own.

        Each element of `argv` is one argument of the program, without a shell; `{name}` in it is
        filled from the job's arguments, whose types `args` gives, or `(type, default)`. What it
        prints goes to the job's log. `progress` is `"ffmpeg"`, `"percent"`, or a function that gets
        each line and returns done and total, or a part of one, or None. Files that match `keep`
        become artifacts. Any other exit code than `ok_exit_codes` raises CommandError. The policy
        is that of `task` with `isolation="process"`.
        """
        recipe = read_recipe(argv, args, progress, keep, ok_exit_codes)
        chosen = policy_of(isolation="process", **policy)
        return self._register(CommandTask(name, stand_in(name, argv, args), chosen, recipe=recipe))

    def _register(self, task: Task) -> TaskHandle[..., Any]:
        if task.name in self._tasks:
            raise InvalidInputError(f"task {task.name}: registered twice; give one another name")
        if not 0 < len(task.name) <= NAME_CHARS_MAX:
            raise InvalidInputError(f"task {task.name!r:.80}: expected a name of 1–200 characters")
        self._tasks[task.name] = task
        return TaskHandle(self, task)

    def schedule(
        self,
        cron: str | None = None,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        every: Duration | None = None,
        **more: Any,
    ) -> Callable[[TaskHandle[P, R]], TaskHandle[P, R]]:
        """Submit a task at the times of a cron expression, or `every` so often; put above a task.

        `more` has `zone`, `start_at`, `end_at`, `jitter`, `missed` (`"skip"`, `"once"` or `"all"`),
        `missed_after`, and a submit's options. The schedule is called like the task unless it gets
        a `name`. Workers make it known when they start, and it ticks as long as one of them has it.
        Raises InvalidInputError that lists all that is wrong.

        >>> app = Outlast()
        >>> @app.schedule("0 3 * * *", zone="Europe/Berlin", args={"days": 7})
        ... @app.task
        ... async def tidy(days: int) -> None: ...
        >>> list(app.schedules.declared)
        ['tidy']
        """

        def declare(handle: TaskHandle[P, R]) -> TaskHandle[P, R]:
            if not isinstance(handle, TaskHandle):
                raise InvalidInputError(
                    f"schedule: expected a task, got {handle!r:.80}", hint="put it above @app.task"
                )
            task = handle.task
            given = None if args is None else json.loads(task.encode(args))
            said = said_of(task=task.name, args=given, cron=cron, every=every, **more)
            self.schedules.declare(name or task.name, said)
            return handle

        return declare

    async def insert(self, jobs: Sequence[NewJob], *, atomic: bool = False) -> list[Inserted]:
        """Insert jobs as the ledger does, after large arguments have moved to the blobs.

        Raises TooLargeError for arguments over `max_payload`.
        """
        large = [job for job in jobs if len(job.args) > PAYLOAD_INLINE_MAX // 4]
        for job in large:
            if job.sole is not None and job.sole.on == "replace":
                # They may end in another job's row, and a file goes with the job it was made for.
                guard_row(job, "that replace others")
                continue
            job.args = await self.blobs.shelve(job.id, job.args)
        inserted = await self.ledger.insert(jobs, atomic=atomic)
        for job, made in zip(jobs, inserted, strict=True) if large else ():
            if made.outcome != "created" and (made.outcome, made.id) != ("duplicate", job.id):
                await self.blobs.drop(job.args)  # what stands in the ledger has its own
        return inserted

    async def limit(self, subject: str, **said: Any) -> None:
        """Set what holds for `task:NAME`, `tenant:NAME` or `key:NAME` on all workers from now on.

        Takes `concurrency`, `rate` (`"10/s"`), `burst` and `weight`, and of a tenant `max_depth`;
        with none of them, what was set live is taken away. `*` as the name means each that has no
        limit of its own.
        """
        await set_limit(self.ledger, subject, said)

    async def submit(self, job: NewJob) -> Handle:
        """Insert one job; raise KeyReusedError, DuplicateJobError, QueueFullError or QuotaError."""
        (made,) = await self.insert([job])
        refused = refusal(job, made)
        if refused is not None:
            raise refused
        return Handle(self, made.id, duplicate=made.outcome != "created")

    def handle(self, job_id: str) -> Handle:
        """Return a handle on a job submitted earlier."""
        return Handle(self, job_id)

    def registered(self, name: str) -> Task:
        """Return the task of this name; raise NotFoundError that lists the known ones."""
        if name not in self._tasks:
            raise NotFoundError(
                f"task {name!r:.80}: expected one of {', '.join(sorted(self._tasks)) or 'none'}"
            )
        return self._tasks[name]
