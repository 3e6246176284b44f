"""Ways to the simulated ledger: one that the referee watches, and one that a network spoils."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from outlast.core.errors import UnavailableError
from outlast.core.job import Event, JobRecord
from outlast.core.ports import Clock
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.protocol import Bell
from outlast.testing.sim.referee import Referee


def watched(kind: type[MemoryLedger], clock: Clock, referee: Referee) -> MemoryLedger:
    """Make a ledger whose every event the referee sees at once."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        def _append(self, row: JobRecord, type_: str, at: int, data: str) -> None:
            super()._append(row, type_, at, data)
            event: Event = self._events[-1]
            referee.see(row, event)

        async def extend(
            self, holders: Sequence[str], ttl_us: int, *, now: int | None = None
        ) -> list[str]:
            lost: list[str] = await super().extend(holders, ttl_us, now=now)
            for holder in holders:
                if ttl_us == 0:
                    referee.gave_up(holder)
                elif holder not in lost:
                    referee.renewed(holder, self._now(now) + ttl_us)
            return lost

        async def put(self, kind: str, key: str, doc: str | None, **how: Any) -> bool:
            done: bool = await super().put(kind, key, doc, **how)
            if kind == "worker" and doc is None:
                referee.gave_up(key)
            elif kind == "worker":
                referee.renewed(key, self._now(None) + how["ttl_us"])
            return done

    return Watched(clock=clock)


class Net:
    """A line to the ledger, and what is wrong with it."""

    def __init__(self, die: random.Random, switches: frozenset[str]) -> None:
        self.die = die
        self.switches = switches
        self.cut = False

    def heal(self) -> None:
        """Make it a good line."""
        self.cut = False
        self.switches = frozenset()

    def draws(self, switch: str, chance: float) -> bool:
        """Throw the dice for one fault."""
        return switch in self.switches and self.die.random() < chance

    def loses(self, switch: str) -> bool:
        """Whether what goes over it now is lost."""
        return self.cut or self.draws(switch, 0.04)


class _DeafBell:
    """A bell that is often not heard; whoever waits for it also sweeps."""

    def __init__(self, bell: Bell, net: Net) -> None:
        self._bell = bell
        self._net = net
        self.ring = bell.ring
        self.close = bell.close

    async def wait(self, timeout: float) -> None:
        if self._net.draws("deaf bells", 0.5):
            await asyncio.sleep(timeout)
        await self._bell.wait(timeout)


class Port:
    """The ledger over a line: every method of it, each with the faults of a network."""

    def __init__(self, ledger: MemoryLedger, net: Net) -> None:
        self._ledger = ledger
        self._net = net
        self.bell: Bell = _DeafBell(ledger.bell, net)

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._ledger, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            net = self._net
            if net.draws("slow calls", 0.06):
                await asyncio.sleep(net.die.uniform(0.01, 3))
            if net.loses("lost requests"):
                await asyncio.sleep(net.die.uniform(0, 2))
                raise UnavailableError(f"{name}: the request was lost")
            answer = await method(*args, **kwargs)
            if net.draws("slow calls", 0.06):
                await asyncio.sleep(net.die.uniform(0.01, 3))
            if net.loses("lost replies"):
                raise UnavailableError(f"{name}: done, but the reply was lost")
            return answer

        return call
