"""One attempt at one job: runs the task, and turns what happened into a transition."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from dataclasses import replace

from outlast.core import transition
from outlast.core.errors import CrashedError, LeaseLostError, OutlastError
from outlast.core.failure import describe, leaves, text_of
from outlast.core.instant import to_rfc3339
from outlast.core.job import Transition
from outlast.core.ports import Clock, Entropy
from outlast.core.retry import DEFAULT_BACKOFF, NO_RULES, Course, course
from outlast.core.signals import HandBack, JobCancelled
from outlast.worker.effects import LeasedEffects, Runnable, TaskMissing
from outlast.worker.isolated import Described


class DeadlineError(Exception):
    """The whole job had to be done by then."""


class StalledError(Exception):
    """The job gave no sign of progress for too long."""


async def attempt(
    effects: LeasedEffects, task: Runnable | None, clock: Clock, entropy: Entropy
) -> Transition | None:
    """Run one attempt; return the transition that ends it, or None when the lease was lost."""
    lease = effects.lease
    try:
        if task is None:
            return await _missing(effects, clock)
        result = await outspoken(task.run(effects))
    except LeaseLostError:
        return None
    except TaskMissing:
        return await _missing(effects, clock)
    except (asyncio.CancelledError, JobCancelled) as error:
        return stopped(effects, task, error, clock, entropy)
    except HandBack:
        return transition.released(effects.lease)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is its failure
        return _failed(effects, task, error, clock, entropy)
    return transition.completed(lease, result)


async def outspoken(work: Awaitable[str | None]) -> str | None:
    """Wait for a task's end; a signal of ours in a group, as a TaskGroup raises it, comes out."""
    try:
        return await work
    except BaseExceptionGroup as group:
        held = leaves(group)
        for kind in (LeaseLostError, JobCancelled, HandBack):
            for one in held:
                if isinstance(one, kind):
                    raise one from group
        raise


def stopped(
    effects: LeasedEffects,
    task: Runnable | None,
    error: BaseException,
    clock: Clock,
    entropy: Entropy,
    *,
    given_up: bool = False,
) -> Transition | None:
    """Say what becomes of a job whose attempt was made to stop; None when the lease was lost."""
    lease, stop = effects.lease, effects.stop
    forced = given_up or effects.was_killed
    match stop:
        case None if isinstance(error, JobCancelled):
            return transition.cancelled(lease, "cancelled by its own task")
        case None:
            error = uninvited()
        case _ if stop.kind in {"lost", "ended"}:
            return None
        case _ if stop.kind == "drain":
            return transition.released(lease)
        case _ if stop.kind == "cancel":
            return transition.cancelled(lease, stop.reason, killed=forced)
        case _:
            kinds = {"deadline": DeadlineError, "stall": StalledError, "timeout": TimeoutError}
            how = "; it ignored that and was given up" if given_up else ""
            how = "; it was killed" if effects.was_killed else how
            error = kinds[stop.kind](stop.reason + how)
    return _failed(effects, task, error, clock, entropy)


def uninvited() -> RuntimeError:
    """Return the failure of a task that was cancelled by its own code.

    Given back, it would come again and again, and cost no attempt.
    """
    return RuntimeError("the task was cancelled, though nobody asked the job to stop")


def after_error(
    error: BaseException, task: Runnable | None, clock: Clock, *, attempt: int, dice: float
) -> Course:
    """Say what follows an error of this task, and when.

    The user's code has a say in that, a backoff's curve for one. When it raises, the default
    backoff counts: a job whose end nobody can tell would be held for ever.
    """
    if isinstance(error, DeadlineError):
        return Course(again=False)
    rules, backoff = (
        (NO_RULES, DEFAULT_BACKOFF) if task is None else (task.policy.on_error, task.policy.backoff)
    )
    try:
        next_ = course(error, rules, backoff, clock.now_us())
        if not next_.again or next_.after_us is not None:
            return next_
        return replace(next_, after_us=next_.backoff.delay_us(attempt, dice))
    except BaseException as fault:  # noqa: BLE001 - as above
        hint = (
            f"its backoff raised {type(fault).__name__}: {text_of(fault)}; the default one counts"
        )
        return Course(again=True, after_us=DEFAULT_BACKOFF.delay_us(attempt, dice), hint=hint)


async def _missing(effects: LeasedEffects, clock: Clock) -> Transition:
    times = 0
    # A ledger that is away costs the count, not the job.
    with contextlib.suppress(OutlastError):
        runs = await effects.events("redriven")
        since = runs[-1].seq if runs else 0
        events = await effects.events("retrying")
        times = sum(e.seq > since and "missing" in json.loads(e.data) for e in events)
    return transition.missing(effects.lease, times=times, at=to_rfc3339(clock.now_us()))


def _failed(
    effects: LeasedEffects,
    task: Runnable | None,
    error: BaseException,
    clock: Clock,
    entropy: Entropy,
) -> Transition:
    lease, dice, at = effects.lease, entropy.fraction(), to_rfc3339(clock.now_us())
    if isinstance(error, Described):
        next_, told = error.course, error.described
    else:
        next_ = after_error(error, task, clock, attempt=lease.attempt, dice=dice)
        told = describe(error, attempt=lease.attempt, at=at, retryable=next_.again, hint=next_.hint)
    return transition.failed(
        lease,
        told,
        backoff=next_.backoff,
        dice=dice,
        after_us=next_.after_us,
        counts=next_.counts,
        now_us=clock.now_us(),
        crashed=isinstance(error, CrashedError),
    )
