"""A claimed job's way to the world, and what the worker knows of its task."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from outlast.blobs.box import Blobs
from outlast.core import transition
from outlast.core.confinement import Confinement
from outlast.core.effects import Effects, Source
from outlast.core.errors import LeaseLostError, NotFoundError
from outlast.core.job import Event, JobRecord, Lease, Transition
from outlast.core.payload import Stored
from outlast.core.ports import Clock
from outlast.core.queue import QueueRules
from outlast.core.retry import Backoff, Rules
from outlast.ledger.protocol import Ledger

Kind = Literal["timeout", "deadline", "stall", "drain", "cancel", "lost", "ended"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an attempt must stop."""

    kind: Kind
    reason: str


class TaskMissing(Exception):
    """The code that runs here does not have the job's task; another worker's may."""


class RunPolicy(Protocol):
    """The part of a task's policy that the worker needs."""

    @property
    def backoff(self) -> Backoff: ...
    @property
    def on_error(self) -> Rules: ...
    @property
    def stall_us(self) -> int | None: ...
    @property
    def grace_us(self) -> int: ...
    @property
    def isolation(self) -> str | None: ...
    @property
    def confinement(self) -> Confinement: ...

    def in_queue(self, rules: QueueRules) -> Self:
        """Return it with what a queue says of isolation where the task itself says nothing."""
        ...


class Runnable(Protocol):
    """A task as the worker sees it."""

    @property
    def policy(self) -> RunPolicy: ...

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt and return the result as JSON."""
        ...


class Tasks(Protocol):
    """The tasks that this code has, each with its way to run."""

    def of(self, task: str, rules: QueueRules | None) -> Runnable | None:
        """Return what runs a job of this task in a queue with these rules; None: it isn't here."""
        ...


class LeasedEffects:
    """A claimed job's way to the ledger: every write carries its token."""

    def __init__(
        self,
        lease: Lease,
        ledger: Ledger,
        blobs: Blobs,
        clock: Clock,
        soon: Callable[[Transition], None],
    ) -> None:
        self.lease = lease
        self._ledger = ledger
        self._blobs = blobs
        self._soon = soon
        self.elapsed_us = clock.elapsed_us
        self.started_us = self.told_us = clock.elapsed_us()
        self.stop: Stop | None = None  # set once, when the attempt must stop
        self.was_killed = False
        self._drains = False
        self._on_drain: list[Callable[[], None]] = []
        self.shields = 0
        self.on_unshielded: Callable[[], object] | None = None

    def note(self, event: str, data: str, *, progress: str | None = None) -> None:
        self.pulse()
        self._soon(transition.amended(self.lease, event, data, progress=progress))

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        self.pulse()
        change = transition.amended(self.lease, event, data, artifact=artifact)
        await self._write(change, advances=event == "step")

    async def save(self, cursor: str, *, advances: bool) -> None:
        self.pulse()
        await self._write(transition.saved(self.lease, cursor), advances=advances)

    async def _write(self, change: Transition, *, advances: bool) -> None:
        changes = [change]
        if advances and self.lease.lost:
            changes.append(transition.recovered(self.lease))
        verdict, *forgiven = await self._ledger.commit(changes)
        if not verdict.accepted:
            raise LeaseLostError(
                f"{change.event or 'cursor'} of job {self.lease.id} refused: expected token "
                f"{verdict.token} and status {verdict.status}, got token {self.lease.token}",
                hint="another worker took the job over; this attempt must stop",
            )
        if forgiven:
            used = changes[1].attempt or 1
            self.lease = self.lease._replace(attempt=used, lost=0)

    async def cursor(self) -> str | None:
        return (await self._row()).cursor

    async def events(self, type_: str) -> list[Event]:
        found: list[Event] = []
        while page := await self._ledger.history(
            self.lease.id, after=found[-1].seq if found else 0, type=type_
        ):
            found += page
        return found

    async def artifacts(self) -> str:
        return (await self._row()).artifacts

    async def _row(self) -> JobRecord:
        (job,) = await self._ledger.get([self.lease.id])
        if job is None:
            raise NotFoundError(f"there is no job {self.lease.id}")
        return job

    async def store(self, data: Source, *, name: str, media_type: str) -> Stored:
        return await self._blobs.put(
            self.lease.id, data, name=name, media_type=media_type, each=self.pulse
        )

    def fetch(self, stored: Stored) -> AsyncGenerator[bytes, None]:
        return self._blobs.read(stored)

    async def shelve(self, text: str) -> str:
        return await self._blobs.shelve(self.lease.id, text)

    async def unshelve(self, text: str) -> str:
        return await self._blobs.fetch(text)

    def pulse(self) -> None:
        self.told_us = self.elapsed_us()

    def shield(self, *, on: bool) -> None:
        self.shields += 1 if on else -1
        if not self.shields and self.stop is not None and self.on_unshielded is not None:
            self.on_unshielded()

    def stopping(self) -> bool:
        return self.stop is not None

    def drain(self) -> None:
        """Tell the job that its worker is about to stop."""
        self._drains = True
        for call in self._on_drain:
            call()

    def when_draining(self, call: Callable[[], None]) -> None:
        self._on_drain.append(call)

    def draining(self) -> bool:
        return self._drains

    def killed(self) -> None:
        self.was_killed = True
