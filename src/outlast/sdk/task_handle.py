"""What `@app.task` gives back: the function, and the ways to submit it as jobs."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from outlast.core.errors import CapabilityError, InvalidInputError, OutlastError, TooLargeError
from outlast.core.job import Inserted, NewJob
from outlast.core.limits import BATCH_MAX
from outlast.ledger import Capability
from outlast.ledger.protocol import Host
from outlast.ledger.within import Connected, connected
from outlast.sdk.handle import Handle
from outlast.sdk.refusals import refusal
from outlast.sdk.submission import NO_OPTIONS, Options, guard_row, new_job
from outlast.sdk.task import Task

if TYPE_CHECKING:
    from outlast.sdk.app import Outlast

P = ParamSpec("P")
R = TypeVar("R")
Work = Coroutine[Any, Any, list[Handle | OutlastError]]


class TaskHandle(Generic[P, R]):
    """What `@app.task` gives back: call it like the function, or submit it as a job."""

    def __init__(
        self,
        app: "Outlast",
        task: Task,
        options: Options = NO_OPTIONS,
        connection: Connected | None = None,
    ) -> None:
        self._app = app
        self.task = task
        self.chosen = options
        self.connection = connection
        self.__name__ = task.name
        self.__doc__ = task.fn.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, without a job."""
        return self.task.fn(*args, **kwargs)

    def options(self, **options: Any) -> "TaskHandle[P, R]":
        """Return a copy with the submit options that the fields of `Options` name."""
        unknown = options.keys() - Options.__dataclass_fields__.keys()
        if unknown:
            raise InvalidInputError(
                f"options: expected {', '.join(Options.__dataclass_fields__)}, "
                f"got {', '.join(sorted(unknown))}"
            )
        chosen = replace(self.chosen, **options)
        return TaskHandle(self._app, self.task, chosen, self.connection)

    def within(self, connection: Any) -> "TaskHandle[P, R]":
        """Return a copy that submits in the open transaction of a connection to the ledger.

        There is a job when the transaction commits, and none when it rolls back. Raises
        InvalidInputError for a connection of a kind that is not known; see docs/transactions.md.
        """
        return TaskHandle(self._app, self.task, self.chosen, connected(connection))

    async def submit(self, *args: Any, **kwargs: Any) -> Handle:
        """Store a job durably and return a handle on it.

        Raises InvalidInputError for arguments that don't fit, KeyReusedError, QueueFullError, and
        DuplicateJobError where the task's or the submit's `unique` says so.
        """
        called = self.task.bind(*args, **kwargs) if args else kwargs
        if self.connection is None:
            return await self._app.submit(await self._job(called))
        return sole_of(await (await self.storing(await self.jobs([called]))))

    async def submit_batch(
        self, calls: Iterable[Mapping[str, Any]], *, atomic: bool = False
    ) -> list[Handle | OutlastError]:
        """Submit a job for each of these arguments; return a handle or the error of each, in order.

        Arguments that don't fit raise InvalidInputError before anything is stored. With `atomic`,
        for up to 1,000 jobs, all are stored or none; then what was refused is raised.
        """
        jobs = await self.jobs(calls)
        return [
            made
            for part in parts(jobs, atomic=atomic)
            for made in await (await self.storing(part, atomic=atomic))
        ]

    async def jobs(self, calls: Iterable[Mapping[str, Any]]) -> list[NewJob]:
        """Make a job for each of these arguments, all of them checked before one is stored."""
        jobs: list[NewJob] = []
        for args in calls:
            jobs.append(await self._job(args))
            if len(jobs) % BATCH_MAX == 0:
                await asyncio.sleep(0)  # others have a turn
        if self.connection is not None:
            for job in jobs:
                # A file would stay behind when the transaction rolls back.
                guard_row(job, "that are submitted in a transaction")
        return jobs

    async def storing(self, jobs: Sequence[NewJob], *, atomic: bool = False) -> Work:
        """Do all of a submit that needs the app's own event loop, and return the rest.

        The rest must run where the connection is at home; on one that blocks, it waits for nothing.
        """
        if self.connection is None:
            return self._told(jobs, self._app.insert(jobs, atomic=atomic), atomic=atomic)
        ledger = self._app.ledger
        if Capability.TRANSACTIONS not in ledger.capabilities:
            raise CapabilityError(
                "within: this ledger shares no transaction with its users",
                hint="use the ledger in PostgreSQL, or in SQLite with apsw",
            )
        insert = await cast("Host", ledger).within()
        rest = insert(self.connection, jobs, atomic=atomic)
        return self._told(jobs, rest, atomic=atomic)

    async def _job(self, args: Mapping[str, Any]) -> NewJob:
        await self._app.rules.fresh(self._app.ledger)
        admits = self._app.rules.of(self.chosen.queue or self.task.queue).admits
        return new_job(self.task, args, self.chosen, max_depth=admits)

    async def _told(
        self, jobs: Sequence[NewJob], rest: Awaitable[Sequence[Inserted]], *, atomic: bool
    ) -> list[Handle | OutlastError]:
        made = await rest
        refused = [refusal(job, one) for job, one in zip(jobs, made, strict=True)]
        for error in refused if atomic else ():
            if error is not None:
                raise error
        return [
            error or Handle(self._app, one.id, duplicate=one.outcome != "created")
            for error, one in zip(refused, made, strict=True)
        ]


def sole_of(made: Sequence[Handle | OutlastError]) -> Handle:
    """Return the handle on the one job, or raise what it was refused for."""
    (one,) = made
    if isinstance(one, OutlastError):
        raise one
    return one


def parts(jobs: Sequence[NewJob], *, atomic: bool) -> Iterator[Sequence[NewJob]]:
    """Cut a batch into parts of a size that holds nobody up for long."""
    if atomic and len(jobs) > BATCH_MAX:
        raise TooLargeError(
            f"a batch of which all or none is stored has at most {BATCH_MAX} jobs, got {len(jobs)}"
        )
    for start in range(0, len(jobs), BATCH_MAX):
        yield jobs[start : start + BATCH_MAX]
