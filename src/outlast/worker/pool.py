"""A pool in one process: claims in batches, runs jobs beside each other, ends them in batches."""

import asyncio
import contextlib
import json
from collections import deque

from outlast.blobs.box import Blobs
from outlast.core import transition
from outlast.core.errors import MovedError, UnavailableError
from outlast.core.job import Filter, Lease, Leases, Page, Transition, Want, lease_of
from outlast.core.limits import MILLISECOND, PAGE_MAX, SECOND, SWEEP_US
from outlast.core.ports import Clock, Entropy
from outlast.core.prefetch import PATIENCE_US, ServiceTime
from outlast.core.rest import rest_us
from outlast.ledger.protocol import Ledger
from outlast.worker.attempt import attempt, stopped
from outlast.worker.config import PoolConfig
from outlast.worker.effects import LeasedEffects, Stop, Tasks
from outlast.worker.held import Held
from outlast.worker.intake import Doorbell, Intake

_SWEEP_S = SWEEP_US / SECOND
_CANCEL_COALESCE_US = 50 * MILLISECOND
_COMMIT_MAX = 500
_RULES_SWEEP_S = 5.0
_RULES_COALESCE_S = 0.25


class Pool:
    """Runs jobs until it is drained."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        tasks: Tasks,
        config: PoolConfig,
        *,
        clock: Clock,
        entropy: Entropy,
        intake: Intake | None = None,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._tasks = tasks
        self._config = config
        self._clock = clock
        self._entropy = entropy
        self._intake: Intake = intake or Doorbell(ledger.bell)
        self._now = config  # with what was said of the queues at run time
        self._slots = config.slots
        self._running: dict[str, Held] = {}
        self._buffer: deque[Lease] = deque()
        self._outbox: deque[tuple[Transition, Lease]] = deque()
        self._service = ServiceTime()
        self._started = 0
        self._draining = asyncio.Event()
        self._worn = asyncio.Event()  # something that can't be stopped goes on in this process
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues = deque(config.queues)
        self._claiming: asyncio.Task[Leases] | None = None
        self._astray = False  # the last claim may have taken jobs that nobody told us of
        self._flushing = asyncio.Lock()

    @property
    def is_worn(self) -> bool:
        """Whether something that ignored its stop goes on: only a new process is rid of it."""
        return self._worn.is_set()

    async def run(self) -> None:
        """Run until `drain` is called and the running jobs have ended or been given back.

        Also returns, once the running jobs have ended, when one of them could not be stopped.
        """
        self._loop = asyncio.get_running_loop()
        self._intake.start()
        loops = [
            asyncio.create_task(self._claim_loop()),
            asyncio.create_task(self._commit_loop()),
            asyncio.create_task(self._cancel_loop()),
            asyncio.create_task(self._rules_loop()),
        ]
        ends = [asyncio.create_task(event.wait()) for event in (self._draining, self._worn)]
        closing: asyncio.Task[None] | None = None
        try:
            await asyncio.wait([*loops, *ends], return_when=asyncio.FIRST_COMPLETED)
            for ended in loops:
                if ended.done() and not ended.cancelled():
                    ended.result()  # a loop only ends by a fault of ours: say which
            loops[0].cancel()
            await asyncio.gather(loops[0], return_exceptions=True)
            closing = asyncio.create_task(self._intake.close())  # others may have room meanwhile
            await self._stop_jobs()
            await self._flush()
        finally:
            for task in (*loops, *ends):
                task.cancel()
            await asyncio.gather(*loops, *ends, return_exceptions=True)
            await (self._intake.close() if closing is None else closing)

    def drain(self) -> None:
        """Stop claiming; `run` returns when everything in hand is settled."""
        self._draining.set()
        self._room.set()
        for held in self._running.values():
            held.effects.drain()

    async def idle(self) -> None:
        """Return when nothing is in hand, though more may come."""
        while self._running or self._buffer:
            self._room.clear()
            await self._room.wait()

    def look(self) -> None:
        """Look at the ledger soon, whether or not something woke this pool."""
        self._intake.look()

    async def _claim_loop(self) -> None:
        while True:
            in_hand = len(self._running) + len(self._buffer)
            room = self._slots + self._service.depth(self._slots) - in_hand
            # An idle slot takes what there is; ahead of need, only half of what fits or more,
            # because many small claims would cost more than they bring.
            idle = not self._buffer and len(self._running) < self._slots
            if room < (1 if idle else max(1, (in_hand + room) // 2)):
                self._room.clear()
                self._intake.rest()
                await self._room.wait()
                continue
            await self._give_back_astray()
            open_ = tuple(queue for queue in self._queues if not self._now.is_paused(queue))
            want = Want(self._config.holder, open_, room)
            self._intake.begin()
            self._claiming = asyncio.ensure_future(self._ledger.claim(want))
            try:
                # A drain interrupts the loop, not the claim: what it brings must be given back.
                leases = await asyncio.shield(self._claiming)
            except UnavailableError:
                self._claiming, self._astray = None, True
                await self._ledger.bell.wait(_SWEEP_S)
                continue
            self._claiming = None
            self._queues.rotate(-1)
            self._intake.took(leases, all_asked=len(leases) >= room)
            if leases:
                self._buffer.extend(leases)
                self._start_some()
                self._be_patient_with(leases)
            else:
                await self._intake.wait(leases, open_)

    async def _give_back_astray(self) -> None:
        """Give back what a claim took whose answer was lost: nobody else knows of it.

        The worker lives and renews its lease, so no reaper would ever take such a job back.
        """
        where = Filter(holder=self._config.holder)
        while self._astray:
            # Taken before asking: a job that ends meanwhile may still be in the answer.
            hands = [held.effects.lease for held in self._running.values()]
            leases = [*hands, *self._buffer, *(lease for _, lease in self._outbox)]
            known = {(lease.id, lease.token) for lease in leases}
            try:
                held = await self._ledger.find(where, Page(limit=PAGE_MAX))
            except MovedError:
                return  # nobody holds anything here, or at the new place, under this name
            except UnavailableError:
                await asyncio.sleep(_SWEEP_S)
                continue
            lost = [lease_of(job) for job in held if (job.id, job.token) not in known]
            self._outbox.extend((transition.released(lease), lease) for lease in lost)
            self._astray = len(held) == PAGE_MAX and bool(lost)
            await self._flush()

    def _start_some(self) -> None:
        while self._buffer and len(self._running) < self._slots:
            lease = self._buffer.popleft()
            effects = LeasedEffects(lease, self._ledger, self._blobs, self._clock, self._soon)
            rules = self._now.rules.get(lease.queue)
            longest = None if rules is None else rules.max_duration_us
            runnable = self._tasks.of(lease.task, rules)
            held = Held(effects, runnable, self._clock, self._give_up, longest)
            self._running[lease.id] = held
            self._started += 1
            held.start(asyncio.create_task(self._run_one(held)))

    def _be_patient_with(self, leases: Leases) -> None:
        if self._buffer and self._loop is not None:
            self._loop.call_later(PATIENCE_US / SECOND, self._give_back_late, leases, self._started)

    def _give_back_late(self, leases: Leases, started: int) -> None:
        """Give back what of a claim was not started in time: others may have room, or the turn."""
        late = {lease.id for lease in leases}
        found = False
        while self._buffer and self._buffer[0].id in late:  # earlier claims were there before
            lease = self._buffer.popleft()
            self._outbox.append((transition.released(lease), lease))
            found = True
        if found:
            self._service.late(self._started - started)
            self._news.set()
            self._room.set()

    async def _run_one(self, held: Held) -> None:
        effects, lease = held.effects, held.effects.lease
        held.begin()
        try:
            change = await attempt(effects, held.runnable, self._clock, self._entropy)
            self._service.observe(self._clock.elapsed_us() - effects.started_us)
            if change is not None and not held.given_up:
                self._outbox.append((change, lease))
                self._news.set()
        finally:
            held.let_go()
            if not held.given_up:
                del self._running[lease.id]
                if not self._draining.is_set() and not self._worn.is_set():
                    self._start_some()
                self._room.set()

    def _give_up(self, held: Held) -> None:
        """Settle a job whose attempt ignores its stop; this process is to be replaced."""
        lease = held.effects.lease
        change = stopped(
            held.effects,
            held.runnable,
            asyncio.CancelledError(),
            self._clock,
            self._entropy,
            given_up=True,
        )
        if change is not None:
            self._outbox.append((change, lease))
            self._news.set()
        del self._running[lease.id]
        self._worn.set()
        self._room.set()

    def _soon(self, change: Transition) -> None:
        """Take a change from any thread; it is committed in order with the others."""
        held = self._running.get(change.id)
        if held is None or held.effects.lease.token != change.token or self._loop is None:
            return  # from a thread that an earlier attempt left behind
        self._outbox.append((change, held.effects.lease))
        self._loop.call_soon_threadsafe(self._news.set)

    async def _commit_loop(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._flush()

    async def _flush(self) -> None:
        async with self._flushing:  # the last flush of a drain must not overtake the loop's
            await self._commit_outbox()

    async def _commit_outbox(self) -> None:
        while self._outbox:
            size = min(len(self._outbox), _COMMIT_MAX)
            batch = [self._outbox[index] for index in range(size)]
            try:
                verdicts = await self._ledger.commit([change for change, _ in batch])
            except UnavailableError:
                # The outcome is unknown: trying again is safe, because each change is guarded.
                await asyncio.sleep(_SWEEP_S)
                continue
            for _ in range(size):
                self._outbox.popleft()
            if any(change.target is not None for change, _ in batch):
                self._intake.look()  # what ended here may have held up another one by a limit
            for (_, lease), verdict in zip(batch, verdicts, strict=True):
                if not verdict.accepted:
                    self._refused(lease, transition.after_refusal(lease, verdict))

    def _refused(self, lease: Lease, instead: Transition | None) -> None:
        if instead is not None:
            self._outbox.append((instead, lease))
            return
        held = self._running.get(lease.id)
        if held is not None and held.effects.lease.token == lease.token:
            held.stop(Stop("lost", "the lease was lost"))

    async def _cancel_loop(self) -> None:
        """Stop the jobs that were asked to: the bell says so soon, a sweep says so surely."""
        took = 0
        while True:
            await self._ledger.bell.wait(_SWEEP_S)
            await asyncio.sleep(rest_us(took, _CANCEL_COALESCE_US) / SECOND)
            took = 0
            if not self._running:
                continue
            where = Filter(holder=self._config.holder, cancel_requested=True)
            start = self._clock.elapsed_us()
            try:
                asked = await self._ledger.find(where, Page(limit=PAGE_MAX))
            except UnavailableError:
                continue
            took = self._clock.elapsed_us() - start
            for job in asked:
                held = self._running.get(job.id)
                if held is not None:
                    held.stop(Stop("cancel", "cancelled by request"))

    async def _rules_loop(self) -> None:
        """Follow what is said of the queues at run time."""
        while True:
            with contextlib.suppress(UnavailableError):
                said = {doc.key: json.loads(doc.doc) for doc in await self._ledger.docs("queue")}
                before, self._now = self._now, self._config.changed(said)
                self._slots = self._now.slots
                self._room.set()
                if self._now != before:
                    self._intake.look()
            await self._ledger.bell.wait(_RULES_SWEEP_S)
            await asyncio.sleep(_RULES_COALESCE_S)

    async def _stop_jobs(self) -> None:
        """Give back what was not started; let the rest end within the grace, then give it back."""
        if self._claiming is not None:
            try:
                self._buffer.extend(await self._claiming)
            except UnavailableError:
                self._astray = True
        for lease in self._buffer:
            self._outbox.append((transition.released(lease), lease))
        self._buffer.clear()
        await self._flush()
        await self._give_back_astray()
        while self._running and not self._draining.is_set():
            # Worn out, but nobody asked to stop: the other jobs have all the time they need. One
            # that is given up meanwhile is out of hand although its task never ends.
            self._room.clear()
            await self._room.wait()
        if self._running:
            tasks = [held.task for held in self._running.values()]
            await asyncio.wait(tasks, timeout=self._config.grace_s)
        for held in list(self._running.values()):
            held.stop(Stop("drain", "the worker stops"))
        while self._running:
            self._room.clear()
            await self._room.wait()
