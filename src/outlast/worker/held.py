"""A job in hand: the task that runs it, the limits on it, and how it is made to stop."""

import asyncio
from collections.abc import Callable
from typing import Final

from outlast.core.limits import SECOND
from outlast.core.ports import Clock
from outlast.worker.effects import Kind, LeasedEffects, Runnable, Stop

DRAIN_GRACE_S: Final = 2.0  # the pool's own grace came before it
KILL_GRACE_S: Final = 10.0  # for the worker to kill a process of the job, which always works
DEFAULT_GRACE_S: Final = 10.0
_ENDED: Final = Stop("ended", "the attempt has ended")


class Held:
    """One running attempt.

    Stopping has two stages. Soft: the asyncio task is cancelled (a thread sees it at its next
    check, a process is asked and then killed). Hard: what still goes on after the grace is given
    up: the pool settles the job without it and has its own process replaced.
    """

    def __init__(
        self,
        effects: LeasedEffects,
        runnable: Runnable | None,
        clock: Clock,
        give_up: Callable[["Held"], None],
        max_duration_us: int | None = None,
    ) -> None:
        self.effects = effects
        self.runnable = runnable
        self.given_up = False
        self._begun = False
        self._clock = clock
        self._on_give_up = give_up
        self._max_duration_us = max_duration_us
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def task(self) -> asyncio.Task[None]:
        """What runs it."""
        assert self._task is not None  # noqa: S101 - the pool starts what it makes
        return self._task

    def start(self, task: asyncio.Task[None]) -> None:
        """Watch over the task that runs it."""
        self._task = task
        self.effects.on_unshielded = task.cancel
        lease = self.effects.lease
        if lease.timeout_us is not None:
            limit = lease.timeout_us / SECOND
            stop = Stop("timeout", f"the attempt took longer than {limit:g} s")
            self._later(limit, self.stop, stop)
        if self._max_duration_us is not None:
            limit = self._max_duration_us / SECOND
            reason = f"the attempt took longer than {limit:g} s, the max_duration of its queue"
            stop = Stop("timeout", f"{reason} {lease.queue}")
            self._later(limit, self.stop, stop)
        if lease.deadline_at is not None:
            left = max(0, lease.deadline_at - self._clock.now_us()) / SECOND
            stop = Stop("deadline", "the job's deadline has passed")
            self._later(left, self.stop, stop)
        if self.runnable is not None and self.runnable.policy.stall_us is not None:
            self._watch_stall(self.runnable.policy.stall_us)

    def _later(self, seconds: float, call: Callable[..., object], *args: object) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, call, *args))

    def begin(self) -> None:
        """Note that the task runs: from now on it can be cancelled, and if asked before, it is.

        A task that is cancelled before its first step never runs at all, so nobody would say how
        the attempt ended.
        """
        self._begun = True
        if self.effects.stop is not None:
            self.task.cancel()

    def _watch_stall(self, limit_us: int) -> None:
        silent = self._clock.elapsed_us() - self.effects.told_us
        if silent >= limit_us:
            self.stop(Stop("stall", f"no sign of progress for {limit_us / SECOND:g} s"))
            return
        left = (limit_us - silent) / SECOND
        self._later(left, self._watch_stall, limit_us)

    def stop(self, stop: Stop) -> None:
        """Ask the attempt to stop; of several reasons the first one counts."""
        if self.effects.stop is not None or self.task.done():
            return
        self.effects.stop = stop
        if self._begun and not self.effects.shields:
            self.task.cancel()
        self._later(self._grace_s(stop.kind), self._give_up)

    def _grace_s(self, kind: Kind) -> float:
        if self.runnable is None:
            return DEFAULT_GRACE_S
        grace = self.runnable.policy.grace_us / SECOND
        if self.runnable.policy.isolation == "process":
            return grace + KILL_GRACE_S
        return DRAIN_GRACE_S if kind == "drain" else grace

    def _give_up(self) -> None:
        if not self.task.done():
            self.given_up = True
            self._on_give_up(self)
            self.task.cancel()  # an `await` that waits for a thread lets go of it now

    def let_go(self) -> None:
        """Forget the timers; what was left behind learns at its next check that nobody waits."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.effects.stop = self.effects.stop or _ENDED
