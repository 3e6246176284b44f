"""Publishes again what brokers may have lost: the ledger knows which jobs wait."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from outlast.broker import open_broker
from outlast.broker.protocol import Broker, Ticket
from outlast.broker.routes import Routes
from outlast.core.errors import UnavailableError
from outlast.core.job import Filter
from outlast.core.limits import BROKER_SWEEP_US, SECOND
from outlast.core.ports import Entropy
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger

RELAYED_MAX: Final = 1_000  # tickets of a queue at each sweep
_ANSWER_S: Final = 10.0
_PLACE: Final = ("relay", "tickets")
_TERM_US: Final = 3 * BROKER_SWEEP_US


class Relay:
    """Compares what waits with what brokers carry; one node at a time does it."""

    def __init__(
        self,
        ledger: Ledger,
        routes: Routes,
        name: str,
        *,
        entropy: Entropy,
        opener: Callable[[str], Broker] = open_broker,
    ) -> None:
        self._ledger = ledger
        self._routes = routes
        self._name = json.dumps({"node": name})
        self._entropy = entropy
        self._brokers = {url: opener(url) for url in routes.urls}

    async def run(self) -> None:
        """Relay at every sweep, until it is cancelled."""
        try:
            while True:
                # Not all nodes at the same instant.
                share = 0.8 + 0.2 * self._entropy.fraction()
                await asyncio.sleep(share * BROKER_SWEEP_US / SECOND)
                with suppress(UnavailableError):
                    await self.relay()
        finally:
            for broker in self._brokers.values():
                with suppress(Exception):
                    async with asyncio.timeout(1):
                        await broker.close()

    async def relay(self) -> int:
        """Publish what is missing, if that is this node's part; return how many tickets."""
        if not await self._is_mine():
            return 0
        waiting = {
            queue: number
            for (queue, *_), number in (
                await self._ledger.count(Filter(status=Status.PENDING), "queue")
            ).items()
        }
        groups = self._routes.grouped(waiting).items()
        return sum(
            await asyncio.gather(*(self._make_up(url, queues, waiting) for url, queues in groups))
        )

    async def _is_mine(self) -> bool:
        """Whether this node relays: it did last, or nobody has for some time."""
        found = await self._ledger.docs(*_PLACE)
        if found and found[0].doc != self._name:
            until = found[0].lease_until
            if until is not None and until > await self._ledger.now():
                return False
        version = found[0].version if found else 0
        return await self._ledger.put(*_PLACE, self._name, version=version, ttl_us=_TERM_US)

    async def _make_up(self, url: str, queues: list[str], waiting: dict[str, int]) -> int:
        broker = self._brokers[url]
        # A broker that fails is tried again at the next sweep; until then workers have theirs.
        with suppress(Exception):
            async with asyncio.timeout(_ANSWER_S):
                carried = await broker.depth(queues)
                tickets = [
                    Ticket(queue, f"relay-{number}")
                    for queue in queues
                    for number in range(min(waiting[queue] - carried.get(queue, 0), RELAYED_MAX))
                ]
                if tickets:
                    await broker.publish(tickets)
                return len(tickets)
        return 0
