"""The loop that forgets: jobs past their time, and files that nothing refers to any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from outlast.blobs import Blobs, Found
from outlast.core.errors import UnavailableError
from outlast.core.instant import from_rfc3339
from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import DAY, HOUR, MINUTE, ORPHAN_AGE_US, SECOND
from outlast.core.payload import moved
from outlast.core.ports import Clock
from outlast.core.retention import Retention
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger
from outlast.upkeep.stream import published_to

_BATCH: Final = 100  # jobs a transaction: claims wait for no more than one of these
_REST: Final = 3  # times as long as a batch took is a pause, so claims have most of the time
_PAUSE_MIN_S: Final = 0.01
_EVERY_S: Final = MINUTE / SECOND
_SWEEP_EVERY_US: Final = HOUR
_AGAIN_US: Final = DAY  # after which everything is looked at again: jobs get discarded late
_START: Final = (0, 0)
_KINDS: Final = {
    "completed": Filter(status=Status.COMPLETED),
    "cancelled": Filter(status=Status.CANCELLED),
    "discarded": Filter(status=Status.FAILED, discarded=True),
    "failed": Filter(status=Status.FAILED, discarded=False),
}


class Forgetting:
    """Removes what the retention no longer keeps, in small batches with pauses between them."""

    def __init__(self, ledger: Ledger, blobs: Blobs, retention: Retention, *, clock: Clock) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._retention = retention
        self._clock = clock
        # How far each horizon has been walked: what ended before that is gone, or is kept longer.
        self._walked: dict[tuple[str, int], tuple[int, int]] = {}
        self._began_us = clock.elapsed_us()
        self._held = False  # whether a job was kept because its events are not published yet

    async def run(self) -> None:
        """Forget once a minute."""
        while True:
            with suppress(UnavailableError):  # tried again in a minute
                await self.tick()
            await asyncio.sleep(_EVERY_S)

    async def tick(self) -> None:
        """Forget everything whose time is over by now."""
        await self.prune()
        if await self._is_my_turn():
            await self.sweep()

    async def prune(self) -> int:
        """Forget ended jobs, keys, tombstones and uploads past their time; return how many jobs."""
        if self._held or self._clock.elapsed_us() - self._began_us >= _AGAIN_US:
            self._held = False
            self._walked, self._began_us = {}, self._clock.elapsed_us()
        forgotten = 0
        told_to = await published_to(self._ledger)
        for kind, keep_us in self._retention.horizons():
            async for found in self._over(kind, keep_us):
                batch = found if told_to is None else await self._told(found, told_to)
                begun = self._clock.elapsed_us()
                before = self._clock.now_us() - keep_us
                gone = await self._ledger.prune(before, _BATCH, ids=[job.id for job in batch])
                forgotten += gone.jobs
                await self._rest(begun)
                for job in batch:
                    if job.id in gone.ids and _has_blobs(job):
                        await self._blobs.forget(job.id)
        while True:
            begun = self._clock.elapsed_us()
            gone = await self._ledger.prune(0, _BATCH)
            if max(gone.keys, gone.docs) < _BATCH:
                return forgotten
            await self._rest(begun)

    async def _told(self, batch: list[JobRecord], told_to: int) -> list[JobRecord]:
        """Return those whose events are published; the others are looked at again."""
        told = []
        for job in batch:
            last = await self._ledger.history(job.id, after=job.seq - 1, limit=1)
            if not last or last[0].position <= told_to:
                told.append(job)
        if len(told) < len(batch):
            self._held = True
        return told

    async def _rest(self, begun_us: int) -> None:
        took_s = (self._clock.elapsed_us() - begun_us) / SECOND
        await asyncio.sleep(max(_PAUSE_MIN_S, _REST * took_s))

    async def _over(self, kind: str, keep_us: int) -> AsyncIterator[list[JobRecord]]:
        """Yield the jobs that this horizon has passed since it was last walked, in batches."""
        horizon = kind, keep_us
        before = self._clock.now_us() - keep_us
        while True:
            page = Page(limit=_BATCH, ended_after=self._walked.get(horizon, _START))
            found = [
                job for job in await self._ledger.find(_KINDS[kind], page) if _end(job) < before
            ]
            over = [
                job
                for job in found
                if self._retention.keep_us(kind, job.queue, job.task) == keep_us
            ]
            if over:
                yield over
            if found:
                self._walked[horizon] = (_end(found[-1]), found[-1].number)
            if len(found) < _BATCH:
                return

    # Files ---------------------------------------------------------------------------------------

    async def _is_my_turn(self) -> bool:
        """Whether the last sweep of any node was long ago; the ledger lets only one say so."""
        last = next(iter(await self._ledger.docs("upkeep", "sweep")), None)
        now = self._clock.now_us()
        if last is not None and now - int(json.loads(last.doc)["at"]) < _SWEEP_EVERY_US:
            return False
        version = 0 if last is None else last.version
        return await self._ledger.put("upkeep", "sweep", json.dumps({"at": now}), version=version)

    async def sweep(self) -> int:
        """Remove the files whose time is over and those that nothing refers to; return how many.

        A file is written before its job's row says so. One that nothing refers to after a day was
        left by a crash in between, by an attempt that had lost its lease, or by a job that is gone.
        """
        swept = 0
        async for portion in self._blobs.store.found():
            garbage = await self.garbage(portion)
            await self._blobs.store.delete(garbage)
            swept += len(garbage)
        return swept

    async def garbage(self, portion: list[Found]) -> list[str]:
        """Return those whose time is over and those that nothing refers to."""
        now = self._clock.now_us()
        owners = sorted({blob.owner for blob in portion})
        used: set[str] = set()
        expired: set[str] = set()
        for start in range(0, len(owners), _BATCH):
            some = owners[start : start + _BATCH]
            for job in await self._ledger.get(some):
                if job is not None:
                    _told_by(job, now, used, expired)
        young = {blob.key for blob in portion if blob.at_us > now - ORPHAN_AGE_US}
        doubtful = [blob for blob in portion if blob.key not in used | expired | young]
        for owner in {blob.owner for blob in doubtful}:
            used |= await self._kept_elsewhere(owner)
        garbage = {blob.key for blob in doubtful if blob.key not in used}
        return sorted(garbage | expired & {blob.key for blob in portion})

    async def _kept_elsewhere(self, owner: str) -> set[str]:
        """Return what a job's steps, or an upload's record, refer to."""
        found: set[str] = set()
        after = 0
        while page := await self._ledger.history(owner, after=after, type="step"):
            found |= {json.loads(event.data).get("blob") for event in page}
            after = page[-1].seq
        found |= {json.loads(doc.doc)["key"] for doc in await self._ledger.docs("upload", owner)}
        return found


def _end(job: JobRecord) -> int:
    return job.finished_at or 0


def _has_blobs(job: JobRecord) -> bool:
    return job.artifacts != "[]" or moved(job.args) is not None or moved(job.result) is not None


def _told_by(job: JobRecord, now: int, used: set[str], expired: set[str]) -> None:
    """Add what the row refers to, and what it says has had its time."""
    used |= {large.key for text in (job.args, job.result) if (large := moved(text)) is not None}
    for entry in json.loads(job.artifacts):
        over = "expires_at" in entry and from_rfc3339(entry["expires_at"]) <= now
        (expired if over else used).add(entry["blob"])
