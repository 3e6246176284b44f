"""The loop that keeps the promises, on every node and without a leader."""

import asyncio
from collections.abc import Callable

from outlast.core import transition
from outlast.core.errors import UnavailableError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Filter, Page
from outlast.core.limits import HEARTBEAT_US, LEASE_US, MILLISECOND, SECOND, SWEEP_US
from outlast.core.ports import Clock, Entropy
from outlast.core.rest import rest_us
from outlast.ledger.protocol import Ledger
from outlast.upkeep.tick import Ticker

_BATCH = 500
_NEVER = 1  # an instant at which no lease is over but those that were given up
_COALESCE_US = 20 * MILLISECOND


class Upkeep:
    """What must happen at its time although nobody asks: due jobs run, dead workers' jobs too."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        entropy: Entropy,
        on_rescue: Callable[[], None] | None = None,  # jobs of the dead can run again
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._on_rescue = on_rescue
        self._offset_us = clock.now_us() - clock.elapsed_us()
        self._patient_until_us = 0
        self._seen_us = clock.elapsed_us()  # when the ledger was there last
        self._ticker = Ticker(ledger, clock)

    async def run(self) -> None:
        """Tick when the bell rings, when the next job is due, and at every sweep."""
        while True:
            start = self._clock.elapsed_us()
            try:
                pause = await self.tick()
            except UnavailableError:
                pause = SWEEP_US / SECOND
            took = self._clock.elapsed_us() - start
            await self._ledger.bell.wait(max(pause, 0.001))
            await asyncio.sleep(rest_us(took, _COALESCE_US) / SECOND)

    def present(self) -> None:
        """Take note that the ledger is there: whoever lets time pass by leaps must say so."""
        self._seen_us = self._clock.elapsed_us()

    async def tick(self, now: int | None = None) -> float:
        """Do everything that is due; return the seconds until there may be more."""
        began = self._clock.elapsed_us()
        await self.expire(now)
        await self.reap(now)
        next_tick = await self._ticker.tick(now)
        pause = min(next_tick, await self.promote(now))
        self._seen_us = began  # any of these calls may have stood still
        return pause

    async def promote(self, now: int | None = None) -> float:
        """Make due jobs runnable; return the seconds until the next one, at most a sweep."""
        moment = now or self._clock.now_us()
        horizon = moment + SWEEP_US
        while True:
            soon = await self._ledger.find(
                Filter(due_before=horizon), Page(limit=_BATCH, oldest_first=True)
            )
            ready = [job for job in soon if job.run_at <= moment]
            if not ready:
                break
            verdicts = await self._ledger.commit([transition.due(job) for job in ready], now=now)
            # None accepted: this node's clock is ahead of the ledger's, which has the last word.
            if len(soon) < _BATCH or not any(verdict.accepted for verdict in verdicts):
                break
        waits = [job.run_at - moment for job in soon if job.run_at > moment]
        # A millisecond late is better than one early, which would find nothing due.
        return min([*waits, SWEEP_US]) / SECOND + MILLISECOND / SECOND

    async def expire(self, now: int | None = None) -> None:
        """End the jobs that were not started, or not done, in time."""
        where = Filter(expired_before=now or self._clock.now_us())
        late = await self._ledger.find(where, Page(limit=_BATCH, oldest_first=True))
        if late:
            await self._ledger.commit([transition.expired(job) for job in late], now=now)
        moment = now or self._clock.now_us()
        where = Filter(overdue_before=moment)
        over = await self._ledger.find(where, Page(limit=_BATCH, oldest_first=True))
        if over:
            at = to_rfc3339(moment)
            await self._ledger.commit([transition.overdue(job, at) for job in over], now=now)

    async def reap(self, now: int | None = None) -> int:
        """Take the jobs of dead workers back; return how many.

        Reading first and acting later is safe: each transition names the token it saw, and the
        ledger refuses it when the job has moved since.
        """
        taken = 0
        judged = await self._judged() if now is None else now
        while leases := await self._ledger.expired(_BATCH, now=judged):
            at = to_rfc3339(now or self._clock.now_us())
            verdicts = await self._ledger.commit(
                [
                    transition.lost(
                        lease,
                        reason=f"worker {lease.holder} gave no sign of life",
                        at=at,
                        dice=self._entropy.fraction(),
                    )
                    for lease in leases
                ],
                now=now,
            )
            taken += sum(verdict.accepted for verdict in verdicts)
            await self._cancel_refused([v.id for v in verdicts if v.cancel_requested], now)
            if len(leases) < _BATCH:
                break
        if taken and self._on_rescue is not None:
            self._on_rescue()
        return taken

    async def _judged(self) -> int:
        """Return the instant by which leases are over.

        It is asked for first, so that a stall on the way to the judgement can't make it later.
        """
        now = await self._ledger.now()
        return _NEVER if self._is_patient() else now

    def _is_patient(self) -> bool:
        """Whether leases are not to be judged by time, because nobody could renew for a while.

        The clock was set, the machine slept, or the ledger was away: every lease looks over, so the
        living get the time of one to renew theirs. Who is known to be dead is not waited for.
        """
        elapsed = self._clock.elapsed_us()
        offset = self._clock.now_us() - elapsed
        was_away = elapsed - self._seen_us > SWEEP_US + HEARTBEAT_US
        # What is less, a lease outlives.
        if was_away or abs(offset - self._offset_us) > HEARTBEAT_US:
            self._seen_us = elapsed
            self._patient_until_us = elapsed + LEASE_US
            self._offset_us = offset
        return elapsed < self._patient_until_us

    async def _cancel_refused(self, ids: list[str], now: int | None) -> None:
        """Cancel, rather than run again, what was asked to stop after its lease was read."""
        for lease in await self._ledger.expired(_BATCH, now=now) if ids else ():
            if lease.cancel_requested:
                change = transition.cancelled(lease, "cancelled by request; its worker was lost")
                await self._ledger.commit([change], now=now)
