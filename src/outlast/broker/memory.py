"""A broker within one process: for tests, the simulator, and where the ledger is in memory, too."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from outlast.broker.message import packed, unpacked
from outlast.broker.protocol import Delivery, Ticket


class Tray:
    """What the brokers of one process may share: messages that wait, and tickets in hands."""

    def __init__(self) -> None:
        self.waiting: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self.hands: dict[int, Ticket] = {}  # by receipt
        self._receipts = 0
        self._listening: list[asyncio.Future[None]] = []

    def put(self, queue: str, message: bytes) -> None:
        """Append a message, and wake whoever waits for one."""
        self.waiting[queue].append(message)
        for future in self._listening:
            if not future.done():
                future.set_result(None)
        self._listening.clear()

    def take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Put into hands what there is, up to a limit; what is no ticket is dropped."""
        found: list[Delivery] = []
        for queue in queues:
            waiting = self.waiting[queue]
            while waiting and len(found) < limit:
                ticket = unpacked(waiting.popleft())
                if ticket is not None and ticket.queue == queue:
                    self._receipts += 1
                    self.hands[self._receipts] = ticket
                    found.append(Delivery(queue, ticket.job_id, self._receipts))
        return found

    async def news(self) -> None:
        """Wait until a message is put."""
        future = asyncio.get_running_loop().create_future()
        self._listening.append(future)
        try:
            await future
        finally:
            if future in self._listening:
                self._listening.remove(future)

    def wipe(self) -> None:
        """Lose everything, in hands or not."""
        self.waiting.clear()
        self.hands.clear()


class MemoryBroker:
    """The tickets of a tray of its own, or of one that it shares with others of this process."""

    def __init__(self, url: str = "memory://", *, tray: Tray | None = None) -> None:
        self._tray = tray or Tray()
        self._mine: set[int] = set()  # receipts

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._tray.put(ticket.queue, packed(ticket))

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not (found := self._tray.take(queues, limit)):
                    await self._tray.news()
                self._mine |= {cast("int", one.receipt) for one in found}
                return found
        return ()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._settle(cast("int", delivery.receipt))

    def _settle(self, receipt: int) -> Ticket | None:
        self._mine.discard(receipt)
        return self._tray.hands.pop(receipt, None)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        hands = [ticket.queue for ticket in self._tray.hands.values()]
        return {queue: len(self._tray.waiting[queue]) + hands.count(queue) for queue in queues}

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        return {"kind": "memory", "tickets": "in this process alone, and gone with it"}

    async def close(self) -> None:
        for receipt in sorted(self._mine):
            ticket = self._settle(receipt)
            if ticket is not None:
                self._tray.put(ticket.queue, packed(ticket))
