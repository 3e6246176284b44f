"""Waiting for a job to change: one listener a process, which wakes everybody who waits."""

import asyncio
from collections.abc import AsyncIterator

from outlast.core.errors import NotFoundError, UnavailableError
from outlast.core.job import Event, JobRecord
from outlast.core.limits import SECOND, SWEEP_US
from outlast.ledger import Ledger
from outlast.system import CLOCK

_COALESCE_S = 0.01


class Watch:
    """Wakes waiters when the ledger changes, and at every sweep, because wake-ups get lost."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._ledger.bell.wait(SWEEP_US / SECOND)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(_COALESCE_S)

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def change(self, seconds: float) -> None:
        """Return after the next change, or after so many seconds."""
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    async def job(self, job: JobRecord, seconds: float, *, seq: int | None = None) -> JobRecord:
        """Wait until a job has ended, or (with `seq`) has moved beyond it; return how it stands."""
        deadline = CLOCK.elapsed_us() + int(seconds * SECOND)
        while not job.status.terminal and (seq is None or job.seq <= seq):
            left = (deadline - CLOCK.elapsed_us()) / SECOND
            if left <= 0:
                break
            await self.change(min(left, 1.0))
            (found,) = await self._ledger.get([job.id])
            if found is None:
                raise NotFoundError(f"job {job.id} was removed meanwhile")
            job = found
        return job

    async def events(self, job: JobRecord, after: int, quiet: float) -> AsyncIterator[Event | None]:
        """Follow a job's history to its end; None after so many quiet seconds."""
        silent = 0.0
        while True:
            try:
                (found,) = await self._ledger.get([job.id])
                batch = await self._ledger.history(job.id, after=after)
            except UnavailableError:
                batch, found = [], job
            for event in batch:
                after, silent = event.seq, 0.0
                yield event
            if found is None or (found.status.terminal and after >= found.seq):
                return
            if not batch:
                before = CLOCK.elapsed_us()
                await self.change(1.0)
                silent += (CLOCK.elapsed_us() - before) / SECOND
                if silent >= quiet:
                    silent = 0.0
                    yield None
