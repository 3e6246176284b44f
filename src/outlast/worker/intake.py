"""What a pool with nothing to do waits for: the ledger's bell, or tickets of brokers.

A ticket only wakes; what is run, the ledger says. So tickets are settled as soon as the ledger was
asked, whatever it gave, and never held while a job runs.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from outlast.broker import open_broker
from outlast.broker.protocol import Broker
from outlast.broker.routes import Routes
from outlast.core.job import Leases
from outlast.core.limits import BROKER_SWEEP_US, MILLISECOND, SECOND, SWEEP_US
from outlast.core.ports import Entropy
from outlast.ledger.protocol import Bell
from outlast.worker.lane import Lane

_SWEEP_S = SWEEP_US / SECOND


class Intake(Protocol):
    """How the claim loop learns when to look at the ledger again."""

    def start(self) -> None:
        """Begin to listen, on the loop that runs."""
        ...

    async def wait(self, leases: Leases, queues: Sequence[str]) -> None:
        """Return when there may be something to claim of these queues; the last claim brought 0."""
        ...

    def begin(self) -> None:
        """Note that the ledger is asked now: what came until now has led to that."""
        ...

    def took(self, leases: Leases, *, all_asked: bool) -> None:
        """Note what a claim brought, and whether that is as much as there was room for."""
        ...

    def rest(self) -> None:
        """Note that there is no room: what comes now is for others."""
        ...

    def look(self) -> None:
        """Let the ledger be looked at again soon, because something here has ended or changed."""
        ...

    async def close(self) -> None:
        """Listen no more; tickets in hand go to others."""
        ...


def intake_of(
    bell: Bell,
    routes: Routes,
    queues: Sequence[str],
    entropy: Entropy,
    opener: Callable[[str], Broker] = open_broker,
) -> Intake:
    """Return what a pool waits for that works on these queues."""
    groups = routes.grouped(queues)
    if not groups:
        return Doorbell(bell)
    rest = any(routes.of(queue) is None for queue in queues)
    lanes = {url: (opener(url), tuple(named)) for url, named in groups.items()}
    return Tickets(bell if rest else None, lanes, entropy)


def until_again(leases: Leases, at_most: float) -> float:
    """Return for how long to wait at most: with a rate limit, time alone lets more start."""
    if leases.again_us is None:
        return at_most
    return min(at_most, (leases.again_us + MILLISECOND) / SECOND)  # early would find nothing


class Doorbell:
    """The bell of the ledger, which tells every pool of every change."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def start(self) -> None:
        """Nothing to begin."""

    async def wait(self, leases: Leases, queues: Sequence[str]) -> None:
        """Wait for the bell, or a sweep."""
        await self._bell.wait(until_again(leases, _SWEEP_S))

    def begin(self) -> None:
        """Nothing has come."""

    def took(self, leases: Leases, *, all_asked: bool) -> None:
        """Nothing to settle."""

    def rest(self) -> None:
        """Nothing to leave to others."""

    def look(self) -> None:
        """Do nothing: the bell rings by itself when a job ends or a queue changes."""

    async def close(self) -> None:
        """Nothing to let go of."""


class Tickets:
    """Tickets of brokers, one of which wakes one pool; the bell, too, for queues without one."""

    def __init__(
        self,
        bell: Bell | None,
        brokers: Mapping[str, tuple[Broker, tuple[str, ...]]],
        entropy: Entropy,
    ) -> None:
        self._bell = bell
        self._entropy = entropy
        self._wake = asyncio.Event()
        self.lanes = [Lane(*one, self._wake.set) for one in brokers.values()]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen to every broker, and to the bell where it counts."""
        self._tasks = [asyncio.create_task(lane.run()) for lane in self.lanes]
        if self._bell is not None:
            self._tasks.append(asyncio.create_task(self._hear(self._bell)))

    async def _hear(self, bell: Bell) -> None:
        while True:
            await bell.wait(_SWEEP_S)
            self._wake.set()

    async def wait(self, leases: Leases, queues: Sequence[str]) -> None:
        """Wait for a ticket or for a sweep, which is rare and at no two pools at the same time."""
        for lane in self.lanes:
            lane.ask(queues)
        sweep = (0.8 + 0.2 * self._entropy.fraction()) * BROKER_SWEEP_US / SECOND
        with suppress(TimeoutError):
            async with asyncio.timeout(until_again(leases, sweep)):
                await self._wake.wait()

    def begin(self) -> None:
        """Let the tickets that are here count for the claim that is made now."""
        self._wake.clear()
        for lane in self.lanes:
            lane.begin()

    def took(self, leases: Leases, *, all_asked: bool) -> None:
        """Settle the tickets that led to this claim, and owe one for each job without one."""
        for lane in self.lanes:
            lane.took([lease.queue for lease in leases], all_asked=all_asked)

    def rest(self) -> None:
        """Ask for no more tickets."""
        for lane in self.lanes:
            lane.rest()

    def look(self) -> None:
        """End the wait, or the next one."""
        self._wake.set()

    async def close(self) -> None:
        """Let go of the brokers; none of them is waited for longer than a second."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(lane.close() for lane in self.lanes))
