"""Tickets in RabbitMQ: a quorum queue for each of ours, confirmed as they are published."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelPreconditionFailed,
    PublishError,
)
from pamqp.commands import Basic

from outlast.broker import shown
from outlast.broker.message import packed
from outlast.broker.protocol import Delivery, Ticket
from outlast.broker.rabbitmq_hand import Hand, Receipt, queue_name
from outlast.broker.rabbitmq_link import Link, parsed
from outlast.core.errors import UnavailableError

T = TypeVar("T")

_LINGER_S: Final = 0.2
"""For how long tickets may lie with one that has just received, and may receive again."""
_TICKETS_MAX: Final = 500  # unconfirmed
_QUORUM: Final[dict[str, Any]] = {"x-queue-type": "quorum"}
_KEPT: Final = 2  # a delivery mode


class RabbitBroker:
    """Tickets in one virtual host of RabbitMQ 3.10 or newer.

    What comes in and what goes out have a connection each: a server short of memory stops reading
    from those that publish.
    """

    def __init__(self, url: str) -> None:
        address = parsed(url)
        self._incoming, self._outgoing = (Link(address, shown(url)) for _ in range(2))
        self._receiving = asyncio.Lock()
        self._declared: set[str] = set()
        self._odd: set[str] = set()  # queues that were there, and are of another kind
        self._hand = Hand(self._incoming, self._declare)
        self._linger: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        for start in range(0, len(tickets), _TICKETS_MAX):
            chunk = tickets[start : start + _TICKETS_MAX]
            await self._whole(self._outgoing, self._published(chunk))

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop()
        until = clock.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._receiving.acquire()
        except TimeoutError:
            return ()
        try:
            self._stay()
            while True:
                self._hand.listen()
                if not self._hand.serves(queues, limit):
                    await self._whole(self._incoming, self._hand.ask_for(queues, limit))
                found = self._hand.take(limit)
                rest = until - clock.time()
                if found or rest <= 0:
                    break
                await self._hand.news(rest)
            if not found:
                await self._whole(self._incoming, self._hand.probe())
            return found
        finally:
            self._receiving.release()
            self._leave_soon()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            receipts = [cast("Receipt", one.receipt) for one in deliveries]
            await self._whole(self._incoming, self._hand.settle(receipts))

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Return what waits, and what is in hands of this process: of others' nothing is told."""
        return await self._whole(self._incoming, self._depth(queues)) if queues else {}

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        await self.depth(queues)
        connection = await self._whole(self._outgoing, self._outgoing.connection())
        said = connection.server_properties or {}
        found = {
            "kind": "rabbitmq",
            "server": f"{_text(said.get('product'))} {_text(said.get('version'))}",
            "cluster": _text(said.get("cluster_name")),
            "queues": "quorum",
        }
        if odd := sorted(self._odd.intersection(queues)):
            found["queues"] = (
                f"warning: {queue_name(odd[0])} is no quorum queue, so the loss of a node loses its"
                " tickets, and their jobs wait for up to 5 s; delete it, and it is made anew"
            )
        try:
            await self._whole(self._outgoing, self._probed())
        except UnavailableError as error:
            found["room"] = f"warning: {error}"
        return found

    async def close(self) -> None:
        self._stay()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._incoming.close()
        await self._outgoing.close()

    async def _published(self, tickets: Sequence[Ticket]) -> None:
        """Publish and await the server's word; queues that are not there are made first."""
        if await self._outgoing.is_blocked():
            await (await self._outgoing.connection()).ready()
        channel = await self._outgoing.channel("tickets", confirms=True)
        for queue in {ticket.queue for ticket in tickets} - self._declared:
            await self._declare(queue, self._outgoing)
        answers = await asyncio.gather(
            *(
                channel.basic_publish(
                    packed(ticket),
                    routing_key=queue_name(ticket.queue),
                    properties=Basic.Properties(delivery_mode=_KEPT),
                    mandatory=True,
                    wait=False,
                )
                for ticket in tickets
            ),
            return_exceptions=True,
        )
        returned = []
        for ticket, answer in zip(tickets, answers, strict=True):
            if isinstance(answer, PublishError) and ticket.queue in self._declared:
                returned.append(ticket)
            elif isinstance(answer, BaseException):
                raise answer
        if returned:  # the queue was there, and somebody has deleted it
            self._declared -= {ticket.queue for ticket in returned}
            await self._published(returned)

    async def _depth(self, queues: Sequence[str]) -> dict[str, int]:
        here = self._hand.unsettled()
        return {queue: await self._declare(queue) + here[queue] for queue in queues}

    async def _probed(self) -> None:
        """Publish what goes nowhere: only then does a server say that it has no room."""
        channel = await self._outgoing.channel("tickets", confirms=True)
        await channel.basic_publish(b"", routing_key="outlast.", wait=False)

    async def _declare(self, queue: str, link: Link | None = None) -> int:
        """Make a queue unless it is there; return how many tickets wait in it."""
        link, name = link or self._incoming, queue_name(queue)
        async with link.declaring:
            channel = await link.channel("queues")
            try:
                made = await channel.queue_declare(name, durable=True, arguments=_QUORUM)
            except (ChannelPreconditionFailed, ChannelAccessRefused):
                link.forget("queues")
                made = await self._found(name, link)
                self._odd.add(queue)
            self._declared.add(queue)
            return made.message_count or 0

    async def _found(self, name: str, link: Link) -> Any:
        """Take a queue as it is: an operator may have made it."""
        channel = await link.channel("queues")
        try:
            return await channel.queue_declare(name, passive=True)
        except ChannelClosed:
            link.forget("queues")
            raise

    async def _whole(self, link: Link, action: Coroutine[Any, Any, T]) -> T:
        """Let an exchange with the server end, though its caller may be cancelled meanwhile.

        The driver takes half of one for a broken channel, on which all that is unsettled goes back.
        """

        async def bounded() -> T:
            async with link.bounded():
                return await action

        task = asyncio.create_task(bounded())
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # which nobody may have awaited

    def _stay(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _leave_soon(self) -> None:
        """Consume for a little longer, as who receives again at once needs no new consumers."""
        self._stay()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._leave)

    def _leave(self) -> None:
        task = asyncio.create_task(self._left())
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def _left(self) -> None:
        if not self._receiving.locked():
            async with self._receiving, self._incoming.bounded():
                await self._hand.let_go()


def _text(said: Any) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
