"""A simulated broker that does what a broker may do to tickets, and some things that it may not."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from outlast.broker.memory import MemoryBroker, Tray
from outlast.broker.protocol import Broker, Delivery, Ticket
from outlast.broker.routes import LEDGER, Routes
from outlast.core.errors import UnavailableError
from outlast.testing.sim.port import Net

BROKER: Final = "broker"
FAULTS: Final = (
    "broker away",
    "broker silent",
    "broker wiped",
    "forged tickets",
    "late tickets",
    "lost tickets",
    "repeated tickets",
    "settled in vain",
)
_SILENCE_S: Final = 60.0
_LATE_S: Final = 6.0  # longer than a sweep, and than a publisher waits
_JUNK: Final = (b"", b"\xff", b"[]", b'{"queue":"default","job":"nobody"}', b'{"queue":7}')


class Brokers:
    """How each process of a world comes by its broker, if the world has one."""

    def __init__(self, net: Net, tally: Counter[str]) -> None:
        self.net = net
        self._tally = tally
        self.routes = Routes("memory://" if BROKER in net.switches else LEDGER)
        self._tray = Tray()

    def open(self, _url: str) -> Broker:
        """Open one more line to the tray of this world."""
        return Adversary(self._tray, self.net, self._tally)


class Adversary(MemoryBroker):
    """Shares a tray with the others of its world; which faults there are, its line says."""

    def __init__(self, tray: Tray, net: Net, tally: Counter[str]) -> None:
        super().__init__(tray=tray)
        self._net = net
        self._tally = tally

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Lose some, repeat some, come late, and forge some."""
        net, kept = self._net, list(tickets)
        await self._suffer()
        if self._does("late tickets", 0.2):
            await asyncio.sleep(net.die.uniform(0, _LATE_S))
        if self._does("forged tickets", 0.2):
            self._tray.put("default", net.die.choice(_JUNK))
        kept = [one for one in kept if not self._does("lost tickets", 0.3)]
        kept += [one for one in kept if self._does("repeated tickets", 0.3)]
        if "repeated tickets" in net.switches:
            net.die.shuffle(kept)
        await super().publish(kept)
        await self._suffer()  # it has them, and says that it has not

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        """Fail before anything is taken, or after."""
        await self._suffer()
        found = await super().receive(queues, limit, timeout)
        await self._suffer()
        self._tally["tickets"] += len(found)
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Forget that they were settled, and give them to others again."""
        await self._suffer()
        await super().ack(deliveries)
        if self._does("settled in vain", 0.2):
            await super().publish([Ticket(one.queue, one.job_id) for one in deliveries])

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Guess."""
        await self._suffer()
        found = await super().depth(queues)
        if self._net.draws("broker wiped", 0.2):
            return {queue: number * 2 + 1 for queue, number in found.items()}
        return found

    async def _suffer(self) -> None:
        if self._does("broker wiped", 0.03):
            self._tray.wipe()
        if self._does("broker silent", 0.03):
            await asyncio.sleep(_SILENCE_S)
        if self._net.cut or self._does("broker away", 0.1):
            raise UnavailableError("the broker is away")

    def _does(self, fault: str, chance: float) -> bool:
        does = self._net.draws(fault, chance)
        self._tally[fault] += does
        return does
