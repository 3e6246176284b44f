"""One simulated world: machines, customers, a nemesis, and a referee; all of it from a seed."""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, cast

from outlast.broker.relayed import relayed
from outlast.core.job import Filter, Page
from outlast.core.limits import HOUR
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.protocol import Ledger
from outlast.testing.sim.loop import DeadlockError, VirtualClock, VirtualLoop
from outlast.testing.sim.machine import Machine
from outlast.testing.sim.port import Net, Port, watched
from outlast.testing.sim.referee import Referee
from outlast.testing.sim.tickets import BROKER, FAULTS, Brokers
from outlast.testing.sim.workload import WITNESS, Customer, app

_OF_THE_LEDGER: Final = (
    "cancels",
    "clock steps",
    "deaf bells",
    "drains",
    "false hints",
    "kills",
    "lost replies",
    "lost requests",
    "machine crashes",
    "partitions",
    "pauses",
    "redrives",
    "repeats",
    "slow calls",
    "slow starts",
)
SWITCHES: Final = (*_OF_THE_LEDGER, BROKER, *FAULTS)
_ACTS: Final = (
    "clock steps",
    "drains",
    "false hints",
    "kills",
    "machine crashes",
    "partitions",
    "pauses",
)
_BROKERED: Final = 0.5
_CHAOS_S: Final = 10.0
_HEALED_S: Final = 120.0  # within which every job must have ended
_STOP_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is a function of: the seed, and what of its draws is switched on."""

    seed: int
    switches: frozenset[str]
    jobs: tuple[int, ...]

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """Draw which faults are on, and how many jobs there are."""
        die = random.Random(f"plan {seed}")
        chance = die.choice([0.15, 0.4, 0.8])
        switches = {name for name in _OF_THE_LEDGER if die.random() < chance}
        jobs = tuple(range(die.randrange(1, 6)))
        die = random.Random(f"broker {seed}")  # of its own: seeds that failed once stay themselves
        if die.random() < _BROKERED:
            chance = die.choice([0.1, 0.3, 0.8])
            switches |= {BROKER, *(name for name in FAULTS if die.random() < chance)}
        return cls(seed, frozenset(switches), jobs)

    def without_broker(self) -> "Plan":
        """Return the same world with nothing beside its ledger."""
        return replace(self, switches=self.switches - {BROKER, *FAULTS})

    def __str__(self) -> str:
        on = ", ".join(sorted(self.switches)) or "no faults"
        return f"seed {self.seed}, {len(self.jobs)} jobs, {on}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went: what was broken, and the digest of its history."""

    plan: Plan
    faults: tuple[str, ...]
    digest: str
    virtual_us: int
    tally: Counter[str]


def simulate(plan: Plan, kind: type[MemoryLedger] = MemoryLedger) -> Outcome:
    """Run one world to its end; `kind` is the ledger that it runs on."""
    with _without_gc(), _quiet():
        loop = VirtualLoop(random.Random(f"order {plan.seed}"))
        world = _World(loop, plan, kind)
        try:
            loop.set_exception_handler(world.overheard)
            loop.run_until_complete(world.run())
        except DeadlockError as error:
            world.referee.blame(f"I1: {error}")
        referee = world.referee
        outcome = Outcome(plan, tuple(referee.faults), world.digest(), loop.now_us, referee.tally)
        loop.discard()
    return outcome


@contextmanager
def _without_gc() -> Iterator[None]:
    """Let no collection end a generator at a moment that another process would choose otherwise."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nobody be told on the terminal how brokers come and go."""
    log = logging.getLogger("outlast.broker")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


def shrink(outcome: Outcome, kind: type[MemoryLedger] = MemoryLedger) -> Outcome:
    """Switch faults and jobs off one at a time, for as long as it still fails."""
    smallest, tried = outcome, True
    while tried:
        tried = False
        plan = smallest.plan
        smaller = [replace(plan, switches=plan.switches - {name}) for name in sorted(plan.switches)]
        smaller += [
            replace(plan, jobs=tuple(j for j in plan.jobs if j != job)) for job in plan.jobs
        ]
        for candidate in smaller:
            found = simulate(candidate, kind)
            if found.faults:
                smallest, tried = found, True
                break
    return smallest


class _World:
    def __init__(self, loop: VirtualLoop, plan: Plan, kind: type[MemoryLedger]) -> None:
        self.referee = Referee()
        self._loop = loop
        self._plan = plan
        self._clock = VirtualClock(loop)
        self._kind = kind
        self._machines: list[Machine] = []
        self._nets: list[Net] = []

    def _die(self, what: str) -> random.Random:
        """Make dice of their own, so that what is switched off shifts nobody else's draws."""
        return random.Random(f"{what} {self._plan.seed}")

    def overheard(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.referee.blame(f"overheard: {context['message']}: {context.get('exception')!r}")

    async def run(self) -> None:
        WITNESS.set(self.referee)
        self._ledger = watched(self._kind, self._clock, self.referee)
        switches = self._plan.switches
        brokers = Brokers(Net(self._die("broker"), switches), self.referee.tally)
        self._nets += [brokers.net] if BROKER in switches else []
        for index in range(self._die("machines").choice([1, 2, 2])):
            die = self._die(f"machine {index}")
            machine = Machine(
                self._loop, self._ledger, self.referee, die, switches, app.tasks, brokers
            )
            machine.boot()
            self._machines.append(machine)
            self._nets += [machine.net, machine.worker_net]
        net = Net(self._die("customers"), frozenset())
        port = cast("Ledger", Port(self._ledger, net))
        await app.open(ledger=relayed(port, brokers.routes, brokers.open))
        net.switches = switches
        self._nets.append(net)
        try:
            await self._live()
        finally:
            await app.close()

    async def _live(self) -> None:
        customers = [
            asyncio.create_task(self._customer(index).live(self._plan.switches, _CHAOS_S))
            for index in self._plan.jobs
        ]
        acts = [asyncio.create_task(self._nemesis(act)) for act in _ACTS]
        await asyncio.sleep(_CHAOS_S)
        for act in acts:
            act.cancel()
        await asyncio.gather(*acts, return_exceptions=True)
        self._heal()
        rest = asyncio.gather(*customers)
        waits = iter(range(int(_HEALED_S)))
        while not self.referee.faults and (self.referee.open or not rest.done()):
            if next(waits, None) is None:
                self.referee.blame(f"I1: {self.referee.open} jobs wait {_HEALED_S:g} s after all")
                break
            await asyncio.sleep(1)
        if self.referee.faults:
            rest.cancel()
            return
        rest.result()
        await self._stop()
        await app.close()
        page = Page(limit=1_000, oldest_first=True)
        self.referee.end(await self._ledger.find(Filter(), page), self._loop.held)

    def _customer(self, index: int) -> Customer:
        return Customer(app, self.referee, self._die(f"customer {index}"), self._clock.now_us)

    def _heal(self) -> None:
        for net in self._nets:
            net.heal()
        for machine in self._machines:
            machine.clock.skew_us = 0
            for node in machine.nodes:
                node.resume()
            if not machine.is_up:
                machine.boot()

    async def _stop(self) -> None:
        for machine in self._machines:
            machine.stop()
        for _ in range(int(_STOP_S)):
            if not any(machine.is_up for machine in self._machines):
                return
            await asyncio.sleep(1)
        self.referee.blame(f"a machine has not stopped within {_STOP_S:g} s")

    async def _nemesis(self, act: str) -> None:
        die = self._die(act)
        while act in self._plan.switches:
            await asyncio.sleep(die.expovariate(1 / 3.5))
            machine = die.choice(self._machines)
            lasts = die.choice([0.3, 2.0, 4.0, 8.0])
            await self._harm(act, machine, die, lasts)

    async def _harm(self, act: str, machine: Machine, die: random.Random, lasts: float) -> None:
        self.referee.tally[act] += 1
        worker = die.choice(machine.workers) if machine.workers else None
        match act:
            case "machine crashes":
                machine.crash()
                await asyncio.sleep(lasts)
                if not machine.is_up:
                    machine.boot()
            case "kills" if worker is not None:
                worker.kill()
            case "drains" if machine.supervisor is not None and machine.is_up:
                machine.supervisor.restart()
            case "false hints" if worker is not None:
                await self._ledger.extend([worker.holder], 0)
            case "clock steps":
                machine.clock.skew_us = die.randrange(-HOUR, HOUR)
            case "pauses":
                nodes = die.sample(machine.nodes, die.randrange(1, len(machine.nodes) + 1))
                for node in nodes:
                    node.pause()
                await asyncio.sleep(lasts)
                for node in nodes:
                    node.resume()
            case "partitions":
                net = die.choice(self._nets)
                net.cut = True
                await asyncio.sleep(lasts)
                net.cut = False
            case _:
                pass

    def digest(self) -> str:
        """Name this run: the same seed must give the same name on any day, in any process."""
        told = sha256(str(self._loop.now_us).encode())
        for event in self._ledger._events:
            told.update(f"{event.position} {event.job_id} {event.at} {event.type} ".encode())
            told.update(event.data.encode())
        return told.hexdigest()[:16]
