"""One broker's tickets on their way to a pool."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from outlast.broker.protocol import Broker, Delivery, Ticket
from outlast.core.limits import BROKER_SWEEP_US, SECOND

_IDLE_S: Final = BROKER_SWEEP_US / SECOND
_DEBT_S: Final = 0.1  # for how long a ticket is looked for whose job is claimed already
_GRACE_S: Final = 5.0  # that a broker may take beyond the time that it was given
_BATCH_MAX: Final = 500
_OWED_MAX: Final = 10_000
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_CLOSE_S: Final = 1.0


class Lane:
    """Receives while its pool waits, and takes tickets away whose jobs the pool has claimed."""

    def __init__(self, broker: Broker, queues: tuple[str, ...], wake: Callable[[], None]) -> None:
        self._broker = broker
        self._queues = queues
        self._wake = wake
        self._stirred = asyncio.Event()
        self._is_asked = False  # the pool waits
        self._open: tuple[str, ...] = queues
        self._limit = 1
        self._arrived: list[Delivery] = []
        self._hand: list[Delivery] = []  # those that led to the claim which is being made
        self._done: list[Delivery] = []  # to be settled
        self._back: list[Delivery] = []  # to be given to others, then settled
        self._owed: Counter[str] = Counter()  # tickets of jobs that were claimed without one
        self._receiving: asyncio.Task[Sequence[Delivery]] | None = None

    def ask(self, queues: Sequence[str]) -> None:
        """Receive tickets of these queues from now on."""
        open_ = tuple(queue for queue in self._queues if queue in queues)
        if open_ != self._open:
            self._open = open_
            self._interrupt()
        self._is_asked = True
        self._stirred.set()

    def begin(self) -> None:
        """Note that the ledger is asked now, for all tickets that are here."""
        self._is_asked = False
        self._hand += self._arrived
        self._arrived.clear()

    def took(self, claimed: Sequence[str], *, all_asked: bool) -> None:
        """Settle what led to a claim that brought jobs of these queues."""
        if not claimed and not self._hand:
            return
        mine = Counter(queue for queue in claimed if queue in self._queues)
        self._owed.update(mine)
        if mine:
            self._limit = 1
        elif self._hand:
            self._limit = min(2 * self._limit, _BATCH_MAX)  # of what is stale, there may be more
        hand, self._hand = self._hand, []
        self._pay(hand, rest_is_wanted=all_asked)
        for queue in mine:
            self._owed[queue] = min(self._owed[queue], _OWED_MAX)

    def _pay(self, tickets: Sequence[Delivery], *, rest_is_wanted: bool) -> None:
        """Settle tickets; those beyond what is owed go back when jobs may wait for them."""
        for ticket in tickets:
            if self._owed[ticket.queue] > 0:
                self._owed[ticket.queue] -= 1
                self._done.append(ticket)
            elif rest_is_wanted:
                self._back.append(ticket)
            else:
                self._done.append(ticket)
        self._stirred.set()

    def rest(self) -> None:
        """Receive nothing but what is owed."""
        self._is_asked = False
        self._interrupt()
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._pay(arrived, rest_is_wanted=True)

    def _interrupt(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()

    async def run(self) -> None:
        """Serve the pool until cancelled; no fault of the broker ends it."""
        pause_s = _PAUSE_MIN_S
        while True:
            self._stirred.clear()
            try:
                await self._settle()
                if self._arrived or self._hand or not await self._receive():
                    await self._stirred.wait()
            except Exception:  # noqa: BLE001 - a broker's fault must stay its own
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            else:
                pause_s = _PAUSE_MIN_S

    async def _settle(self) -> None:
        """Settle before anything else is received; what fails here comes again, and harms not."""
        back, self._back = self._back, []
        if back:
            tickets = [Ticket(one.queue, one.job_id) for one in back]
            await self._bounded(0, self._broker.publish, tickets)
        done, self._done = self._done + back, []
        if done:
            await self._bounded(0, self._broker.ack, done)

    async def _receive(self) -> bool:
        """Receive once, if there is a reason to; return whether there was."""
        if self._is_asked and self._open:
            owed = self._owed.total()
            limit = min(max(self._limit, owed), _BATCH_MAX)
            got = await self._received(self._open, limit, _IDLE_S, idle=True)
            if not got and self._is_asked:
                self._owed.clear()  # lost, or in somebody else's hands
            # Even those that are owed lead to a look: among them may be one of a new job.
            self._arrived += got
            if got:
                self._wake()
            return True
        queues = [queue for queue, number in self._owed.items() if number > 0]
        if not queues:
            return False
        limit = min(self._owed.total(), _BATCH_MAX)
        got = await self._received(queues, limit, _DEBT_S, idle=False)
        if not got:
            self._owed.clear()
        elif self._is_asked:
            self._arrived += got
            self._wake()
        else:
            self._pay(got, rest_is_wanted=True)
        return True

    async def _received(
        self, queues: Sequence[str], limit: int, timeout: float, *, idle: bool
    ) -> Sequence[Delivery]:
        """Receive; what may be for others can be interrupted, and brings nothing then."""
        work = self._bounded(timeout, self._broker.receive, queues, limit, timeout)
        task = asyncio.ensure_future(work)
        self._receiving = task if idle else None
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            self._receiving = None
        if task.cancelled():
            return ()
        got: Sequence[Delivery] = task.result()
        return got

    async def _bounded(
        self, timeout: float, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        async with asyncio.timeout(timeout + _GRACE_S):
            return await call(*args)

    async def close(self) -> None:
        """Let go of the broker: what is in hand comes to others."""
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await self._settle()
                await self._broker.close()
