"""Waiting for jobs to change: one listener a process, which wakes everybody who waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from outlast.core.errors import UnavailableError
from outlast.core.job import Event, JobRecord
from outlast.core.limits import SECOND, SWEEP_US
from outlast.core.ports import Clock
from outlast.ledger import Ledger

_COALESCE_S: Final = 0.01
_SWEEP_S: Final = SWEEP_US / SECOND
_BATCH: Final = 500

Waiter = asyncio.Future[JobRecord | None]


class Watch:
    """Reads every awaited job in one query when the bell rings, at most once each 10 ms.

    Wake-ups get lost, so it also reads them at every sweep.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._waiting: dict[str, dict[Waiter, JobRecord]] = {}  # by job: who waits, what they know
        self._someone = asyncio.Event()
        self._changed = asyncio.Event()
        self._listeners = 0
        self.closing = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            if not self._waiting and not self._listeners:
                # Nobody waits, so the bell is not even listened to.
                self._someone.clear()
                await self._someone.wait()
            await self._ledger.bell.wait(_SWEEP_S)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            try:
                await self._tell()
            except UnavailableError:
                await asyncio.sleep(_SWEEP_S)
            await asyncio.sleep(_COALESCE_S)

    async def _tell(self) -> None:
        ids = list(self._waiting)
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            for job_id, job in zip(some, await self._ledger.get(some), strict=True):
                for waiter, known in list(self._waiting.get(job_id, {}).items()):
                    if not waiter.done() and (job is None or job.seq > known.seq):
                        waiter.set_result(job)

    async def close(self) -> None:
        """Let everybody go and stop listening."""
        self.abandon()
        await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """Let everybody go, and stop listening as soon as may be."""
        self.stop()
        self._task.cancel()

    def stop(self) -> None:
        """End every wait now: a server that stops must not be held by those who wait."""
        self.closing = True
        self._changed.set()
        for waiters in self._waiting.values():
            for waiter, known in waiters.items():
                if not waiter.done():
                    waiter.set_result(known)

    async def change(self, job: JobRecord, seconds: float) -> JobRecord | None:
        """Return the job as soon as it has moved past what `job` shows.

        Returns the same `job` after so many seconds, and None when it was removed.
        """
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job.id, {})[waiter] = job
        self._someone.set()
        try:
            # What changed after `job` was read, but before anybody waited for it.
            (now,) = await self._ledger.get([job.id])
            if now is None or now.seq > job.seq:
                return now
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return job
        finally:
            del self._waiting[job.id][waiter]
            if not self._waiting[job.id]:
                del self._waiting[job.id]

    async def settled(self, job: JobRecord, seconds: float, *, ended: bool) -> JobRecord | None:
        """Wait for the next change, or (with `ended`) for the end, at most so many seconds."""
        deadline = self._clock.elapsed_us() + int(seconds * SECOND)
        while not job.status.terminal and not self.closing:
            left = (deadline - self._clock.elapsed_us()) / SECOND
            if left <= 0:
                break
            found = await self.change(job, left)
            if found is None:
                return None
            moved, job = found.seq > job.seq, found
            if moved and not ended:
                break
        return job

    async def follow(
        self, job: JobRecord, after: int, quiet_s: float
    ) -> AsyncIterator[Event | None]:
        """Yield a job's events to its end, without a gap or a repeat; None when nothing happens."""
        current: JobRecord | None = job
        while not self.closing:
            page = await self._ledger.history(job.id, after=after)
            for event in page:
                after = event.seq
                yield event
            if current is None or self.closing:
                return
            if current.status.terminal and after >= current.seq:
                return
            if page and after < current.seq:
                continue  # there was more than one page of it
            before = current.seq
            current = await self.change(current, quiet_s)
            if current is not None and current.seq == before and not self.closing:
                yield None

    async def follow_all(self, after: int, quiet_s: float) -> AsyncIterator[list[Event]]:
        """Yield batches of the events of all jobs, after a position; empty when nothing happens."""
        self._listeners += 1
        self._someone.set()
        quiet_since = self._clock.elapsed_us()
        try:
            while not self.closing:
                changed = self._changed
                batch = await self._ledger.history(None, after=after)
                if batch:
                    after = batch[-1].position
                    quiet_since = self._clock.elapsed_us()
                    yield batch
                    continue
                left = quiet_s - (self._clock.elapsed_us() - quiet_since) / SECOND
                if left <= 0:
                    quiet_since = self._clock.elapsed_us()
                    yield []
                    continue
                try:
                    async with asyncio.timeout(left):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._listeners -= 1
