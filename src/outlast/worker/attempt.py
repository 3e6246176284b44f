"""One attempt at one job: runs the task, and turns what happened into a transition."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from outlast.blobs.protocol import Blobs
from outlast.core import transition
from outlast.core.effects import Effects
from outlast.core.errors import LeaseLostError, NotFoundError
from outlast.core.failure import describe
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, Lease, Transition
from outlast.core.limits import SECOND
from outlast.core.ports import Clock, Entropy
from outlast.core.retry import DEFAULT_BACKOFF, Backoff, Course, Rules, course
from outlast.core.signals import JobCancelled
from outlast.ledger.protocol import Ledger

# Why an attempt was told to stop, when it was not on request.
DRAIN: Final = "drain"
LOST: Final = "the lease was lost"
ENDED: Final = "the attempt has ended"


class RunPolicy(Protocol):
    """The part of a task's policy that the worker needs."""

    @property
    def backoff(self) -> Backoff: ...
    @property
    def on_error(self) -> Rules: ...


class Runnable(Protocol):
    """A task as the worker sees it."""

    @property
    def policy(self) -> RunPolicy: ...

    async def run(self, effects: Effects) -> str | None:
        """Run one attempt and return the result as JSON."""
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
        self.started_us = clock.elapsed_us()
        self.stop_reason: str | None = None  # why the attempt was told to stop

    def note(self, event: str, data: str, *, progress: str | None = None) -> None:
        self._soon(transition.amended(self.lease, event, data, progress=progress))

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        change = transition.amended(self.lease, event, data, artifact=artifact)
        (verdict,) = await self._ledger.commit([change])
        if not verdict.accepted:
            raise LeaseLostError(
                f"{event} of job {self.lease.id} refused: expected token {verdict.token} and "
                f"status {verdict.status}, got token {self.lease.token}",
                hint="another worker took the job over; this attempt must stop",
            )

    async def events(self, type_: str) -> list[Event]:
        found: list[Event] = []
        while page := await self._ledger.history(
            self.lease.id, after=found[-1].seq if found else 0, type=type_
        ):
            found += page
        return found

    async def artifacts(self) -> str:
        (job,) = await self._ledger.get([self.lease.id])
        if job is None:
            raise NotFoundError(f"there is no job {self.lease.id}")
        return job.artifacts

    async def store(self, name: str, data: bytes | Path) -> tuple[str, int, str]:
        stored = await self._blobs.put(data)
        return stored.key, stored.size, stored.sha256

    async def fetch(self, blob: str) -> bytes:
        return await self._blobs.get(blob)

    def stopping(self) -> bool:
        return self.stop_reason is not None


async def attempt(
    effects: LeasedEffects, task: Runnable | None, clock: Clock, entropy: Entropy
) -> Transition | None:
    """Run one attempt; return the transition that ends it, or None when the lease was lost."""
    lease = effects.lease
    try:
        if task is None:
            raise NotFoundError(  # noqa: TRY301 - handled like any other failure of the attempt
                f"this worker has no task {lease.task!r:.80}",
                hint="deploy the code that has it, or discard the job",
            )
        if lease.timeout_us is None:
            result = await task.run(effects)
        else:
            async with asyncio.timeout(lease.timeout_us / SECOND):
                result = await task.run(effects)
    except LeaseLostError:
        return None
    except asyncio.CancelledError as error:
        if effects.stop_reason is None:
            # Nobody asked for it: given back, it would come again and again, and cost no attempt.
            return _failed(effects, task, error, clock, entropy)
        return _stopped(lease, effects.stop_reason)
    except Exception as error:  # noqa: BLE001 - whatever user code raises is this job's failure
        return _failed(effects, task, error, clock, entropy)
    except JobCancelled:
        return _stopped(lease, effects.stop_reason or "cancelled by its own task")
    except SystemExit as error:
        return _failed(effects, task, error, clock, entropy)
    return transition.completed(lease, result)


def _stopped(lease: Lease, reason: str) -> Transition | None:
    if reason == LOST:
        return None
    if reason == DRAIN:
        return transition.released(lease)
    return transition.cancelled(lease, reason)


def after_error(error: BaseException, task: Runnable | None, clock: Clock) -> Course:
    """Say what follows an error of this task."""
    if task is None:
        return course(error, {}, DEFAULT_BACKOFF, clock.now_us())
    return course(error, task.policy.on_error, task.policy.backoff, clock.now_us())


def _failed(
    effects: LeasedEffects,
    task: Runnable | None,
    error: BaseException,
    clock: Clock,
    entropy: Entropy,
) -> Transition:
    lease = effects.lease
    if isinstance(error, asyncio.CancelledError) and not str(error):
        error = RuntimeError("the task was cancelled, though nobody asked the job to stop")
    if isinstance(error, TimeoutError) and not str(error) and lease.timeout_us is not None:
        error = TimeoutError(f"the attempt took longer than {lease.timeout_us / SECOND:g} s")
    # An error from the job's own process was described and judged there.
    next_ = getattr(error, "course", None) or after_error(error, task, clock)
    at = to_rfc3339(clock.now_us())
    described = getattr(error, "described", None)
    return transition.failed(
        lease,
        described or describe(error, attempt=lease.attempt, at=at, retryable=next_.again),
        backoff=next_.backoff,
        dice=entropy.fraction(),
        after_us=next_.after_us,
        counts=next_.counts,
    )
