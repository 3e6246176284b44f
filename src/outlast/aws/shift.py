"""One invocation's work: so many jobs, claimed, run and settled before its end."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final, cast

from outlast.aws.piecewise import Tasks
from outlast.core.errors import OutlastError, UnavailableError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Leases, Transition, Verdict, Want
from outlast.core.limits import HEARTBEAT_US, LEASE_US, SECOND
from outlast.ledger.protocol import Ledger
from outlast.sdk.app import Outlast
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.upkeep.loop import Upkeep
from outlast.worker.config import PoolConfig
from outlast.worker.pool import Pool

_GRACE_PART: Final = 0.6  # of the reserve, for jobs to hand themselves back
# What of the reserve is left when everything is settled, cancelled, and the worker is gone.
_SETTLED: Final = 0.15
_CANCELLED: Final = 0.1
_LEFT: Final = 0.05


class Portion:
    """A ledger of which so many jobs may be claimed, and which counts those given back."""

    def __init__(self, ledger: Ledger, limit: int, upkeep: asyncio.Task[None]) -> None:
        self._ledger = ledger
        self._left = limit
        self._upkeep = upkeep
        self.was_asked = False
        self.spent = asyncio.Event()  # nothing more is to be had
        self.given_back = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def claim(self, want: Want, *, now: int | None = None) -> Leases:
        """Claim no more than is left."""
        leases = Leases()
        if self._left:
            few = replace(want, limit=min(want.limit, self._left))
            leases = await self._ledger.claim(few, now=now)
            self.was_asked = True
            if not leases:
                # A ticket may be that of a sandbox that died: its job is free once it is rescued.
                await asyncio.shield(self._upkeep)
                leases = await self._ledger.claim(few, now=now)
            self._left = self._left - len(leases) if leases else 0
        if not leases:
            # Not at the claim that takes the last: the pool has yet to hear of its jobs then.
            self.spent.set()
        return leases

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        """Commit, and count what can run again at once."""
        verdicts = await self._ledger.commit(transitions, now=now)
        self.given_back += sum(
            verdict.accepted and change.event == "released"
            for change, verdict in zip(transitions, verdicts, strict=True)
        )
        return verdicts


class Shift:
    """A worker for the length of an invocation: with a name of its own, and gone at its end.

    So a sandbox that is frozen holds nothing, and what it does when it wakes is refused.
    """

    def __init__(self, app: Outlast, queues: tuple[str, ...]) -> None:
        self._app = app
        self._queues = queues
        self._holder = new_id()

    async def begin(self, limit: int) -> None:
        """Make the worker known; doing so twice changes nothing."""
        presence: Mapping[str, object] = {
            "id": self._holder,
            "host": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", os.uname().nodename),
            "pid": os.getpid(),
            "queues": self._queues,
            "concurrency": limit,
            "started_at": to_rfc3339(CLOCK.now_us()),
            "version": version("outlast"),
            "schedules": [],
        }
        await self._app.ledger.put("worker", self._holder, json.dumps(presence), ttl_us=LEASE_US)

    async def work(self, limit: int, *, until: float, end: float) -> int:
        """Run up to so many jobs; return how many tickets are needed again.

        At `until`, by the loop's clock, those that still run are told to stop; `end` is never
        reached. Raises UnavailableError when the ledger was not there to be asked.
        """
        loop = asyncio.get_running_loop()

        def until_part(part: float) -> float:
            return max(0.0, end - part * (end - until) - loop.time())

        upkeep = asyncio.create_task(self._upkeep())
        portion = Portion(self._app.ledger, limit, upkeep)
        pool = self._pool(portion, limit, _GRACE_PART * (end - until))
        running = asyncio.create_task(pool.run())
        done = asyncio.create_task(_done(portion, pool))
        others = [asyncio.create_task(self._beat()), upkeep]
        try:
            await asyncio.wait(
                [running, done],
                timeout=until_part(1),
                return_when=asyncio.FIRST_COMPLETED,
            )
            pool.drain()
            await asyncio.wait([running], timeout=until_part(_SETTLED))
        finally:
            is_clean = running.done() and running.exception() is None
            every = [running, done, *others]
            for task in every:
                task.cancel()
            # A ledger that has fallen silent lets nothing end: the deadline comes first.
            await asyncio.wait(every, timeout=until_part(_CANCELLED))
            with suppress(OutlastError, TimeoutError):
                async with asyncio.timeout(until_part(_LEFT)):
                    await self._leave(is_clean=is_clean)
        if running.done() and not running.cancelled():
            running.result()  # a fault of the pool's own: say which
        if not portion.was_asked:
            raise UnavailableError("the ledger did not answer in time")
        return min(limit, portion.given_back) if is_clean else limit

    def _pool(self, portion: Portion, limit: int, grace_s: float) -> Pool:
        settings = self._app.settings
        rules = {queue: settings.rules(queue) for queue in self._queues}
        return Pool(
            cast("Ledger", portion),
            self._app.blobs,
            Tasks(self._app.tasks),
            PoolConfig(self._holder, self._queues, limit, max(0.0, grace_s), rules),
            clock=CLOCK,
            entropy=ENTROPY,
        )

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_US / SECOND)
            with suppress(OutlastError):
                await self._app.ledger.extend([self._holder], LEASE_US)

    async def _upkeep(self) -> None:
        """Do once what every node does: where there are sandboxes alone, nobody else would."""
        with suppress(OutlastError):
            await Upkeep(self._app.ledger, clock=CLOCK, entropy=ENTROPY).tick()

    async def _leave(self, *, is_clean: bool) -> None:
        if is_clean:
            await self._app.ledger.put("worker", self._holder, None)
        else:
            # Somebody else has more time for what could not be settled here.
            await self._app.ledger.extend([self._holder], 0)


async def _done(portion: Portion, pool: Pool) -> None:
    await portion.spent.wait()
    await pool.idle()
