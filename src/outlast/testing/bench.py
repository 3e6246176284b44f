"""A user's test of their jobs: the real engine in memory, and time that can be skipped."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from contextvars import Context
from datetime import datetime, timedelta
from itertools import repeat
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from outlast.blobs import Blobs, LocalStore
from outlast.core.errors import InvalidInputError
from outlast.core.instant import Duration, duration_us, from_rfc3339, to_rfc3339
from outlast.core.job import JobRecord, Transition
from outlast.core.limits import SECOND
from outlast.core.schedule import KIND, from_doc
from outlast.core.status import UNSTARTED, Status
from outlast.sdk.app import Outlast
from outlast.sdk.capture import captured
from outlast.sdk.task_handle import TaskHandle
from outlast.system import new_id
from outlast.testing.faults import Fault
from outlast.testing.hands import TestLedger, Worker, at_once
from outlast.testing.passage import Passage
from outlast.testing.records import AnyJob, Records
from outlast.testing.sim.loop import NODE, SeededEntropy
from outlast.upkeep.loop import Upkeep

LEAPS_MAX: Final = 100_000
_SOCKET_ROUNDS: Final = 200


class _WorkerClock:
    """The clock of the workers' machine, whose wall clock may be wrong."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self.skew_us = 0

    def now_us(self) -> int:
        return self._passage.now_us() + self.skew_us

    def elapsed_us(self) -> int:
        return self._passage.elapsed_us()


class Testing(Records):
    """What `async with testing(app) as t` gives: see docs/testing.md.

    Between the calls that let jobs run (`advance`, `drain`, waiting for a result) no job runs and
    no time passes for jobs.
    """

    __test__ = False

    def __init__(
        self,
        app: Outlast,
        *,
        now: str | datetime | None = None,
        workers: int = 1,
        patience: Duration = "50ms",
        seed: int = 0,
    ) -> None:
        """`now` is when the test begins, otherwise the present; `seed` draws the backoffs.

        `patience` is how long a job that may be waiting for a socket is waited for before time is
        skipped; `workers` how many work beside each other.
        """
        start = now.isoformat() if isinstance(now, datetime) else now
        self._passage = Passage(
            None if start is None else from_rfc3339(start, field="now"),
            duration_us(patience, field="patience"),
        )
        self._app = app
        self._clock = _WorkerClock(self._passage)
        self._entropy = SeededEntropy(random.Random(seed))
        self._count = workers
        self._workers: list[Worker] = []
        self._gone: list[Worker] = []
        self._faults: list[Fault] = []
        self._open = ExitStack()
        self._lock = asyncio.Lock()

    # The block -----------------------------------------------------------------------------------

    def open(self) -> Self:
        """Put the app on stores of this test's own; `async with` and `with` do it for you."""
        folder = self._open.enter_context(TemporaryDirectory(prefix="outlast-testing-"))
        self._keep(TestLedger(self._passage, self._wait_for_ring), LocalStore(folder))
        self._upkeep = Upkeep(self._ledger, clock=self._passage, entropy=self._entropy)
        self._open.enter_context(self._app.using(self._ledger, Blobs(self._store, new_id)))
        return self

    async def end(self) -> None:
        """End what still runs, and give the event loop back."""
        for worker in [*self._workers, *self._gone]:
            await worker.bury()
        self._workers, self._gone = [], []
        self._passage.leave()

    def close(self) -> None:
        """Give the app its own stores back."""
        self._open.close()

    def check(self) -> None:
        """Raise AssertionError for a crash or a freeze that has not happened."""
        __tracebackhide__ = True
        for fault in self._faults:
            fault.check()

    async def __aenter__(self) -> Self:
        return self.open()

    async def __aexit__(self, kind: object, *_: object) -> None:
        __tracebackhide__ = True
        try:
            await self.end()
        finally:
            self.close()
        if kind is None:
            self.check()

    # Letting jobs run ----------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What time it is in this test, in UTC."""
        return datetime.fromisoformat(to_rfc3339(self._passage.now_us()))

    async def advance(self, by: Duration) -> dict[str, int]:
        """Let this much time pass, with all that happens in it; say how many jobs ended, and how.

        A job that takes longer than that stays where it is, in the middle, until time goes on.
        """
        by_us = duration_us(by, field="by")
        async with self._driving() as ended:
            target = self._passage.now_us() + by_us
            await self._settle()
            for _ in self._leaps():
                at = self._next_us()
                if at is None or at > target:
                    break
                await self._settle(at - self._passage.now_us())
            await self._settle(target - self._passage.now_us())
        return ended

    async def drain(self, within: Duration = 0) -> dict[str, int]:
        """Run all jobs that can run, and those that they submit; say how many ended, and how.

        Running jobs take the time they need. What is to run later stays for later, unless it is
        due `within` this time.
        """
        within_us = duration_us(within, field="within")
        async with self._driving() as ended:
            limit = self._passage.now_us() + within_us
            await self._settle()
            for _ in self._leaps():
                is_busy = bool(self._in_hand())
                at = self._next_us(timers=is_busy)
                if at is None and is_busy:
                    await self._wait_really()
                elif at is None or (at > limit and not is_busy):
                    break
                else:
                    await self._settle(at - self._passage.now_us())
        return ended

    def _leaps(self) -> Iterator[None]:
        """Bound how often time is skipped in one call."""
        yield from repeat(None, LEAPS_MAX)
        raise AssertionError(
            f"after {LEAPS_MAX} timers, at {self.now}, there is no end of {self._listed()}"
        )

    def _listed(self) -> str:
        return ", ".join(str(self.job(row.id)) for row in self._in_hand()) or "timers without a job"

    async def _wait_really(self) -> None:
        """Give a job that waits for a socket some real time; say so when nothing can come."""
        before = self._ledger.bell.rings
        for _ in range(_SOCKET_ROUNDS if self._passage.has_sockets() else 1):
            await self._settle()
            if self._ledger.bell.rings != before or self._next_us() is not None:
                return
        raise AssertionError(
            f"{self._listed()} waits for what does not come: "
            "no timer is set, and no thread or socket is at work"
        )

    async def _wait_for_ring(self, timeout: float) -> None:
        """Let the jobs run while the test waits for news, for so long at most."""
        before = self._ledger.bell.rings
        async with self._driving():
            target = self._passage.now_us() + round(timeout * SECOND)
            await self._settle()
            for _ in self._leaps():
                at = self._next_us()
                if self._ledger.bell.rings != before:
                    return
                if at is None or at > target:
                    break
                await self._settle(at - self._passage.now_us())
            await self._settle(target - self._passage.now_us())

    @asynccontextmanager
    async def _driving(self) -> AsyncIterator[dict[str, int]]:
        if NODE.get() is not None:
            raise InvalidInputError("testing: a job can't let time pass; the test does that")
        async with self._lock:
            before = {row.id: (row.run, row.status.terminal) for row in self._ledger.rows()}
            for worker in self._workers:
                if not worker.is_frozen:
                    worker.node.resume()
            ended: dict[str, int] = {}
            try:
                with self._passage.held(), captured():
                    yield ended
            finally:
                for worker in self._workers:
                    worker.node.pause()
                for row in self._ledger.rows():
                    if row.status.terminal and before.get(row.id) != (row.run, True):
                        ended[str(row.status)] = ended.get(str(row.status), 0) + 1

    async def _settle(self, leap_us: int = 0) -> None:
        """Skip this much time, then do all that can be done without more of it."""
        await self._passage.settle(leap_us)
        self._upkeep.present()
        while True:
            rings = self._ledger.bell.rings
            is_new = await self._supervise()
            await self._upkeep.tick()
            if not is_new and self._ledger.bell.rings == rings:
                return
            await self._passage.settle()

    async def _supervise(self) -> bool:
        """Do as the supervisor does: notice dead workers at once, and put others in their place."""
        for worker in [*self._workers]:
            if worker.is_dead:
                await self._ledger.extend([worker.holder], 0)
            elif worker.main.done():
                worker.main.result()
                await self._ledger.put("worker", worker.holder, None)
            else:
                continue
            self._workers.remove(worker)
            self._gone.append(worker)
        missing = self._count - sum(not worker.is_frozen for worker in self._workers)
        for _ in range(missing):
            self._hire()
        return missing > 0

    def _hire(self) -> None:
        # A context of its own: a job must not find what the test has put into its variables.
        self._workers.append(
            Context().run(
                Worker, self._app, self._ledger, self._passage, self._faults,
                clock=self._clock, entropy=self._entropy,
            )
        )  # fmt: skip

    def _in_hand(self) -> list[JobRecord]:
        """Return the jobs that a worker is at."""
        awake = {worker.holder for worker in self._workers if not worker.is_frozen}
        return [
            row
            for row in self._ledger.rows()
            if row.status is Status.PROCESSING and row.holder in awake
        ]

    def _next_us(self, *, timers: bool = True) -> int | None:
        """Return the next instant at which something happens by itself."""
        now = self._passage.now_us()
        frozen = {worker.holder for worker in self._workers if worker.is_frozen}
        dues = [
            doc.lease_until
            for doc in at_once(self._ledger.docs("worker"))
            if doc.key in frozen and doc.lease_until
        ]
        for doc in at_once(self._ledger.docs(KIND)):
            tick = from_doc(doc.key, doc.doc).next_at
            dues += [tick] if tick is not None and tick > now else []
        for row in self._ledger.rows():
            if row.status in UNSTARTED:
                later = [row.run_at] if row.status is Status.SCHEDULED else []
                dues += [at for at in (*later, row.expires_at, row.deadline_at) if at is not None]
        timer = self._passage.until_timer_us() if timers else None
        dues += [] if timer is None else [now + timer]
        return max(now, min(dues)) if dues else None

    # What goes wrong -----------------------------------------------------------------------------

    def crash_at(
        self, point: str, task: TaskHandle[Any, Any] | None = None, *, recorded: bool = False
    ) -> Fault:
        """Let the worker die, without any cleanup, when a job comes to a point; it happens once.

        Points are `start`, `step:NAME`, `progress`, `log`, `artifact:NAME`, `resume:NAME`,
        `resume:NAME:ITEMS`, `remember:NAME`, `retry`, `fail` and `complete`. What the job did is
        done, and the record of it is lost, unless it is `recorded`; a start always is.
        """
        return self._fault(Fault("crash", point, task, recorded=recorded))

    def freeze_at(
        self, point: str, task: TaskHandle[Any, Any] | None = None, *, recorded: bool = False
    ) -> Fault:
        """Let the worker freeze when a job comes to a point, until `thaw`; see `crash_at`."""
        return self._fault(Fault("freeze", point, task, recorded=recorded))

    def _fault(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def freeze(self) -> None:
        """Freeze the workers as they are; others take their place when time goes on."""
        awake = [worker for worker in self._workers if not worker.is_frozen]
        if not awake:
            raise InvalidInputError("freeze: no worker has started yet", hint="drain or advance")
        for worker in awake:
            worker.freeze()

    def thaw(self) -> None:
        """Let the frozen workers go on where they were; what they missed, they learn."""
        self._passage.recall_threads()
        for worker in self._workers:
            if worker.is_frozen:
                worker.thaw()

    def jump(self, by: str | float | timedelta) -> None:
        """Put the workers' wall clock forward, or back: `"1h"`, `"-90s"`; no time passes."""
        if isinstance(by, str):
            size = duration_us(by.lstrip("+-"), field="by")
            self._clock.skew_us += -size if by.startswith("-") else size
        else:
            seconds = by.total_seconds() if isinstance(by, timedelta) else by
            self._clock.skew_us += round(seconds * SECOND)

    async def deliver_again(self, job: AnyJob) -> None:
        """Offer a job once more, to a second worker, and repeat what was written of its end.

        Raises AssertionError when anything follows from that; nothing does.
        """
        before = self.job(job)
        if before.status in UNSTARTED and not before.attempts:
            raise InvalidInputError(f"job {before} was not delivered yet", hint="drain first")
        workers = [*self._workers, *self._gone]
        moves: list[Transition] = [move for w in workers for move in w.moves[before.id]]
        async with self._driving():
            self._hire()
            verdicts = await self._ledger.commit(moves)
            await self._settle()
        after = self.job(before)
        assert not any(verdict.accepted for verdict in verdicts), f"{after} ended twice"
        assert after.events == before.events, f"{after}: {before.events} became {after.events}"
