"""The ledger and the workers of a user's test: the real ones, with a hand on what goes between."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from outlast.core.errors import LeaseLostError
from outlast.core.job import Inserted, JobRecord, Lease, NewJob, Transition, Verdict, Want
from outlast.core.limits import DURATION_MAX_US, LEASE_US
from outlast.core.ports import Clock, Entropy
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.memory_bell import MemoryBell
from outlast.ledger.protocol import Bell, Ledger
from outlast.sdk.app import Outlast
from outlast.sdk.limits import declare
from outlast.system import new_id
from outlast.testing.faults import Fault, Point, points_of
from outlast.testing.passage import Passage
from outlast.testing.sim.loop import NODE, Node
from outlast.worker.config import PoolConfig
from outlast.worker.effects import Stop
from outlast.worker.executors import Here
from outlast.worker.pool import Pool

if TYPE_CHECKING:
    from outlast.worker.held import Held

T = TypeVar("T")
_SWEEPS_MAX = 3  # what is decided after a ring, as a queue's new rules are, is found by sweeping
_ROUNDS_MAX = 20  # how often a job that swallows its end is ended anew


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run what awaits nothing, as every method of the memory ledger does."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    raise RuntimeError("the memory ledger has waited for something")


class TestBell(MemoryBell):
    """Lets the workers run while the test waits for news of a job."""

    __test__ = False

    def __init__(self, drive: Callable[[float], Awaitable[None]]) -> None:
        super().__init__()
        self._drive = drive
        # By task: at how many rings it swept last, and how often since.
        self._swept: WeakKeyDictionary[asyncio.Task[Any], tuple[int, int]] = WeakKeyDictionary()

    @property
    def rings(self) -> int:
        """How often it rang."""
        return self._rings

    async def wait(self, timeout: float) -> None:
        if NODE.get() is None:
            await self._drive(timeout)
        else:
            await super().wait(timeout)  # a job that waits for another one

    async def sweep(self, timeout: float) -> None:
        """Wait as a worker does, who sweeps: a few times, because this bell loses nothing."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        rings, sweeps = self._swept.get(task, (0, 0))
        sweeps = sweeps + 1 if rings == self._rings else 0
        self._swept[task] = (self._rings, sweeps)
        if sweeps < _SWEEPS_MAX or self._heard.get(task, 0) != self._rings:
            await super().wait(timeout)
        else:
            self._rung.clear()
            await self._rung.wait()
            self._heard[task] = self._rings


class TestLedger(MemoryLedger):
    """The memory ledger, which remembers how each job was submitted."""

    __test__ = False

    def __init__(self, clock: Clock, drive: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(clock=clock)
        self._bell: TestBell = TestBell(drive)
        self.submitted: dict[str, NewJob] = {}

    @property
    def bell(self) -> TestBell:
        return self._bell

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        made = await super().insert(jobs, atomic=atomic, now=now)
        for job, one in zip(jobs, made, strict=True):
            if one.outcome == "created":
                self.submitted[job.id] = job
            elif one.outcome == "replaced":
                self.submitted[one.id] = replace(
                    self.submitted[one.id],
                    delay_us=job.delay_us,
                    run_at_us=job.run_at_us,
                    priority=job.priority,
                    max_attempts=job.max_attempts,
                )
        return made

    def rows(self) -> list[JobRecord]:
        """Return every job, in the order of submission."""
        return list(self._jobs.values())


class Port:
    """A worker's way to the ledger, where it can be made to die, or to freeze."""

    def __init__(self, ledger: TestLedger, worker: "Worker") -> None:
        self._ledger = ledger
        self._worker = worker
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        if self.is_cut:
            raise LeaseLostError("the test is over")
        return getattr(self._ledger, name)

    @property
    def bell(self) -> Bell:
        return cast("Bell", self)

    async def wait(self, timeout: float) -> None:
        """Be the bell that the worker hears."""
        await self._ledger.bell.sweep(timeout)

    async def claim(self, want: Want) -> list[Lease]:
        if self.is_cut:
            raise LeaseLostError("the test is over")
        leases = await self._ledger.claim(want)
        for row in await self._ledger.get([lease.id for lease in leases]):
            fault = self._worker.fault_at(Point("start"), cast("JobRecord", row))
            if fault is not None:
                await self._worker.suffer(fault)
        return leases

    async def commit(self, transitions: Sequence[Transition]) -> list[Verdict]:
        if self.is_cut:
            raise LeaseLostError("the test is over")
        rows = await self._ledger.get([change.id for change in transitions])
        faults = [
            fault
            for change, row in zip(transitions, rows, strict=True)
            if row is not None and row.token == change.token
            for point in points_of(change, row)
            if (fault := self._worker.fault_at(point, row))
        ]
        for fault in faults:
            if not fault.recorded:
                await self._worker.suffer(fault)
        verdicts = await self._ledger.commit(transitions)
        for change, verdict in zip(transitions, verdicts, strict=True):
            if verdict.accepted and change.target is not None:
                self._worker.moves[change.id].append(change)
        for fault in faults:
            if fault.recorded:
                await self._worker.suffer(fault)
        return verdicts


class Worker:
    """A real pool on a machine of its own, which can be frozen and killed."""

    def __init__(
        self,
        app: Outlast,
        ledger: TestLedger,
        passage: Passage,
        faults: list[Fault],
        *,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self.holder = new_id()
        self.node = Node(self.holder)
        self.is_frozen = False
        self.moves: dict[str, list[Transition]] = defaultdict(list)
        self._ledger = ledger
        self._passage = passage
        self._faults = faults
        self.port = Port(ledger, self)
        settings = app.settings
        queues = settings.queues or tuple(sorted({task.queue for task in app.tasks.values()}))
        self._pool = Pool(
            cast("Ledger", self.port),
            app.blobs,
            Here(app.tasks),
            PoolConfig(
                self.holder,
                queues or ("default",),
                settings.concurrency,
                settings.grace,
                {queue: settings.rules(queue) for queue in queues},
            ),
            clock=clock,
            entropy=entropy,
        )
        at_once(app.schedules.sync())
        presence = json.dumps({"schedules": list(app.schedules.declared)})
        at_once(ledger.put("worker", self.holder, presence, ttl_us=DURATION_MAX_US))
        at_once(declare(app))
        self.main = self.node.start(self._pool.run())

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.node.state == "dead"

    def fault_at(self, point: Point, row: JobRecord) -> Fault | None:
        """Return the fault that happens here."""
        return next((fault for fault in self._faults if fault.meets(point, row)), None)

    async def suffer(self, fault: Fault) -> None:
        """Die here, without any cleanup, or freeze until thawed."""
        if fault.kind == "freeze":
            self.freeze()
            await asyncio.sleep(0)
            return
        self.node.kill()
        self._passage.forsake_threads()
        for held in self._held():
            held.effects.stop = held.effects.stop or Stop("lost", "the worker is dead")
        await asyncio.get_running_loop().create_future()

    def freeze(self) -> None:
        """Stop, as a machine does that is suspended; its last heartbeat was this very moment."""
        self.is_frozen = True
        self.node.pause()
        self._passage.forsake_threads()
        at_once(self._ledger.extend([self.holder], LEASE_US))

    def thaw(self) -> None:
        """Go on; its first heartbeat keeps its leases, unless they were given up meanwhile."""
        self.is_frozen = False
        at_once(self._ledger.extend([self.holder], DURATION_MAX_US))

    def _held(self) -> list["Held"]:
        return list(self._pool._running.values())

    async def bury(self) -> None:
        """End what is left of it, when nobody looks any more: nothing that it does counts."""
        self.port.is_cut = True
        for held in self._held():
            held.effects.stop = held.effects.stop or Stop("ended", "the test is over")
        self.node.state = "paused"
        self.node.resume()
        for _ in range(_ROUNDS_MAX):
            left = [task for task in self.node.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.01)
        for task in self.node.tasks:
            if not task.done():
                cast("Any", task)._log_destroy_pending = False
            elif not task.cancelled():
                with suppress(BaseException):
                    task.exception()
        self.node.tasks.clear()
