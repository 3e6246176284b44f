"""What one process has of RabbitMQ's tickets: consumers, and what came and is not settled."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, cast

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from outlast.broker.message import plain_name, unpacked
from outlast.broker.protocol import Delivery
from outlast.broker.rabbitmq_link import Link

_PURPOSE: Final = "tickets"
_PREFETCH_MAX: Final = 500
FRESH_S: Final = 30.0
"""After how long of silence a channel is closed and another opened.

A queue that is deleted and made again while a channel consumes from it (seen with 3.10) hands
tickets to that consumer, and never sends them. Meanwhile workers go by their sweep.
"""


class Receipt(NamedTuple):
    """By what RabbitMQ knows a delivery; worth nothing on another channel."""

    channel: Channel
    tag: int


class Hand:
    """Consumers of the queues that were last asked for, on one channel.

    Each is given as many tickets as were asked for. What is not taken from here in time goes back
    with `let_go`, and so does everything when the channel ends.
    """

    def __init__(self, link: Link, declare: Callable[[str], Awaitable[int]]) -> None:
        self._link = link
        self._declare = declare
        self._channel: Channel | None = None
        self._consumers: dict[str, str] = {}  # tags by queues
        self._prefetch = 0
        self._is_broken = False
        self._unsettled: dict[int, str] = {}  # queues by tags, oldest first
        self._buffer: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._heard = 0.0  # when the server last sent a ticket, or was asked for some

    def unsettled(self) -> Counter[str]:
        """Return how many of each queue's tickets are here."""
        return Counter(self._unsettled.values())

    def serves(self, queues: Sequence[str], limit: int) -> bool:
        """Whether tickets of these queues, and as many, come as things are."""
        if self._channel is None or self._channel.is_closed or self._is_broken or self._is_silent():
            return False
        if set(self._consumers) != set(queues) or min(limit, _PREFETCH_MAX) > self._prefetch:
            return False
        # Who settles nothing gets nothing more from a consumer.
        return bool(self._buffer) or max(self.unsettled().values(), default=0) < self._prefetch

    async def ask_for(self, queues: Sequence[str], limit: int) -> None:
        """Consume from these queues."""
        async with self._changing:
            await self._let_go()
            await self._ask_for(queues, limit)

    async def let_go(self) -> None:
        """Consume no more, and give back what nobody took."""
        async with self._changing:
            await self._let_go()

    async def _ask_for(self, queues: Sequence[str], limit: int) -> None:
        if self._channel is not None and self._is_silent():
            self._link.forget(_PURPOSE)
            await self._channel.close()
        for queue in queues:
            await self._declare(queue)
        channel = await self._link.channel(_PURPOSE)
        if channel is not self._channel:
            self._unsettled.clear()
            self._channel = channel
            channel.on_consumer_cancel_callbacks.add(self._cancelled)
            channel.closing.add_done_callback(lambda _: self._news.set())
        self._is_broken = False
        self._heard = asyncio.get_running_loop().time()
        self._prefetch = min(limit, _PREFETCH_MAX)
        await channel.basic_qos(prefetch_count=self._prefetch)
        for queue in queues:
            came = partial(self._came, channel, queue)
            answer = await channel.basic_consume(queue_name(queue), came)
            self._consumers[queue] = str(answer.consumer_tag)

    def _is_silent(self) -> bool:
        return not self._unsettled and asyncio.get_running_loop().time() - self._heard > FRESH_S

    async def _let_go(self) -> None:
        consumers, self._consumers = self._consumers, {}
        channel = self._channel
        if channel is None or channel.is_closed:
            self._buffer.clear()
            return
        for consumer in consumers.values():
            await channel.basic_cancel(consumer)
        while self._buffer:
            tag = cast("Receipt", self._buffer.popleft().receipt).tag
            if self._unsettled.pop(tag, None) is not None:
                await channel.basic_nack(tag, requeue=True, wait=False)

    def take(self, limit: int) -> list[Delivery]:
        """Return what has come, up to a limit."""
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    def listen(self) -> None:
        """Count as news what comes from now on."""
        self._news.clear()

    async def news(self, within_s: float) -> None:
        """Wait until something has come, or nothing more will, or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._news.wait()

    async def probe(self) -> None:
        """Ask the server for an answer: one that hangs is as silent as one that has nothing."""
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.basic_qos(prefetch_count=self._prefetch)

    async def settle(self, receipts: Iterable[Receipt]) -> None:
        """Tell the server that it may forget these; those of an earlier channel it has back."""
        channel = self._channel
        tags = {tag for of, tag in receipts if of is channel and tag in self._unsettled}
        if channel is None or channel.is_closed or not tags:
            return
        first = 0
        for tag in self._unsettled:
            if tag not in tags:
                break
            first = tag
        for tag in tags:
            del self._unsettled[tag]
        for tag in sorted(tag for tag in tags if tag > first):
            await channel.basic_ack(tag, wait=False)
        if first:
            await channel.basic_ack(first, multiple=True, wait=False)

    async def _came(self, channel: Channel, queue: str, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if channel is not self._channel or tag is None:
            return
        self._unsettled[tag] = queue
        self._heard = asyncio.get_running_loop().time()
        ticket = unpacked(message.body)
        if ticket is None or ticket.queue != queue:
            await self.settle([Receipt(channel, tag)])
            return
        self._buffer.append(Delivery(queue, ticket.job_id, Receipt(channel, tag)))
        self._news.set()

    def _cancelled(self, frame: Any) -> None:
        """Hear that the queue is gone, and has to be made again."""
        self._is_broken = True
        self._news.set()


def queue_name(queue: str) -> str:
    """Return how RabbitMQ calls a queue."""
    return f"outlast.{plain_name(queue, 200)}"
