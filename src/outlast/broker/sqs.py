"""Tickets in Amazon SQS, or in whatever speaks like it: a queue of SQS for each of ours.

The URL is `sqs://REGION/PREFIX`, and credentials come from where every AWS tool finds them.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, Final, NamedTuple, TypeVar

from outlast.broker.address import read_address, refused
from outlast.broker.message import packed, plain_name, unpacked
from outlast.broker.protocol import Delivery, Ticket
from outlast.broker.sqs_line import POLL_S_MAX, Absent, SqsLine
from outlast.core.errors import OutlastError, UnavailableError
from outlast.system import new_id

_OPTIONS: Final = ("create", "endpoint", "fifo", "visibility")
_BATCH: Final = 10  # what SQS takes and gives at once
_MORE_AT_ONCE: Final = 9  # further batches for one receive
_RELEASE_S: Final = 2.0
_SPARE_S: Final = 1.0
_NAME_CHARS: Final = 80
_VISIBILITY_S: Final = 30
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
_FIFO: Final = ".fifo"
_COUNTS: Final = tuple(f"ApproximateNumberOfMessages{how}" for how in ("", "NotVisible", "Delayed"))
_SOON_S: Final = 3_600

T = TypeVar("T")


class _Receipt(NamedTuple):
    queue: str
    handle: str


class SqsBroker:
    """Tickets in the SQS queues of one region whose names start with a prefix."""

    def __init__(self, url: str) -> None:
        address = read_address(url, _OPTIONS)
        self._prefix = address.path or "outlast"
        if not _PREFIX.fullmatch(self._prefix):
            raise refused("sqs:// expects a prefix of 1 to 40 letters, digits and hyphens")
        self._line = SqsLine(address)
        self._fifo = address.flag("fifo", default=False)
        self._create = address.flag("create", default=True)
        self._visibility = address.number("visibility", _VISIBILITY_S, 1, 43_200)
        self._urls: dict[str, str] = {}  # of SQS, by our queue
        self._finding: dict[str, asyncio.Lock] = {}
        self._hands: dict[_Receipt, Delivery] = {}
        self._spare: list[Delivery] = []  # received, and nobody's yet
        self._polls: dict[str, asyncio.Task[list[Delivery]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = 0

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        queues: dict[str, list[Ticket]] = {}
        for ticket in tickets:
            queues.setdefault(ticket.queue, []).append(ticket)
        await _all(
            self._publish(queue, batch)
            for queue, them in queues.items()
            for batch in _batches(them)
        )

    async def _publish(self, queue: str, tickets: Sequence[Ticket]) -> None:
        entries = []
        for number, ticket in enumerate(tickets):
            entry = {"Id": str(number), "MessageBody": packed(ticket).decode()}
            if self._fifo:
                # A group for each job: so no ticket waits for another to be settled.
                entry |= {"MessageGroupId": ticket.job_id, "MessageDeduplicationId": new_id()}
            entries.append(entry)
        said = await self._on(queue, "send_message_batch", needed=True, Entries=entries)
        self._judge("SendMessageBatch", said)

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop()
        until = clock.time() + timeout
        self._asking += 1
        try:
            while True:
                found = self._take(queues, limit)
                rest = until - clock.time()
                if found or rest <= 0:
                    return found
                await self._heard(queues, limit, rest)
        finally:
            self._asking -= 1
            if self._spare:
                clock.call_later(_SPARE_S, self._let_go)

    def _take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        found = [one for one in self._spare if one.queue in queues][:limit]
        self._spare = [one for one in self._spare if one not in found]
        return found

    async def _heard(self, queues: Sequence[str], limit: int, rest: float) -> None:
        """Wait until one of the polls has ended; those that haven't go on for the next receive.

        They aren't cancelled: SQS would hide what it had just sent until the visibility ends.
        """
        for queue in queues:
            if queue not in self._polls:
                poll = asyncio.create_task(self._poll(queue, limit, rest))
                self._polls[queue] = poll
                poll.add_done_callback(partial(self._ended, queue))
        mine = [self._polls[queue] for queue in queues]
        if not mine:
            await asyncio.sleep(rest)
            return
        done, _ = await asyncio.wait(mine, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        failed = [task.exception() for task in done if not task.cancelled()]
        for error in failed:
            if error is not None and not self._spare:
                raise error

    def _ended(self, queue: str, poll: asyncio.Task[list[Delivery]]) -> None:
        self._polls.pop(queue, None)
        if poll.cancelled() or poll.exception() is not None:
            return
        self._spare += poll.result()
        if self._spare and not self._asking:
            self._let_go()

    async def _poll(self, queue: str, limit: int, rest: float) -> list[Delivery]:
        wait_s = min(max(ceil(rest), 1), POLL_S_MAX)
        found, full = await self._batch(queue, min(limit, _BATCH), wait_s)
        further = min((limit - _BATCH) // _BATCH, _MORE_AT_ONCE) if full else 0
        if further > 0:
            more = await asyncio.gather(
                *(self._batch(queue, _BATCH, 0) for _ in range(further)), return_exceptions=True
            )
            for one in more:
                found += [] if isinstance(one, BaseException) else one[0]
        return found

    async def _batch(self, queue: str, limit: int, wait_s: int) -> tuple[list[Delivery], bool]:
        """Receive one batch, and say whether it was full; what is no ticket is deleted."""
        said = await self._on(
            queue,
            "receive_message",
            needed=True,
            patience_s=wait_s,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=self._visibility,
        )
        found, junk = [], []
        messages = said.get("Messages", [])
        for message in messages:
            ticket = unpacked(message.get("Body", ""))
            receipt = _Receipt(queue, message["ReceiptHandle"])
            if ticket is None or ticket.queue != queue:
                junk.append(receipt)
                continue
            delivery = Delivery(queue, ticket.job_id, receipt)
            self._hands[receipt] = delivery
            found.append(delivery)
        if junk:
            self._start(self._delete(queue, junk))
        return found, len(messages) == limit

    def _let_go(self) -> None:
        """Give back what was received and nobody asked for in time."""
        if self._spare and not self._asking and self._line.is_open:
            spare, self._spare = self._spare, []
            self._start(self._release(spare))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside all else; what fails comes again when its visibility ends."""

        async def quietly() -> None:
            with suppress(OutlastError):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._settle(deliveries, self._delete)

    async def _release(self, deliveries: Sequence[Delivery]) -> None:
        await self._settle(deliveries, self._show)

    async def _settle(
        self,
        deliveries: Sequence[Delivery],
        how: Callable[[str, Sequence[_Receipt]], Coroutine[Any, Any, None]],
    ) -> None:
        queues: dict[str, list[_Receipt]] = {}
        for delivery in deliveries:
            if isinstance(delivery.receipt, _Receipt):
                self._hands.pop(delivery.receipt, None)
                queues.setdefault(delivery.queue, []).append(delivery.receipt)
        await _all(how(queue, batch) for queue, them in queues.items() for batch in _batches(them))

    async def _delete(self, queue: str, receipts: Sequence[_Receipt]) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": one.handle} for n, one in enumerate(receipts)]
        with suppress(Absent):
            said = await self._on(queue, "delete_message_batch", Entries=entries)
            self._judge("DeleteMessageBatch", said)

    async def _show(self, queue: str, receipts: Sequence[_Receipt]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": one.handle, "VisibilityTimeout": 0}
            for n, one in enumerate(receipts)
        ]
        with suppress(Absent):
            await self._on(queue, "change_message_visibility_batch", Entries=entries)

    def _judge(self, what: str, said: dict[str, Any]) -> None:
        """Raise when a part of a batch failed, for a reason other than that it is gone."""
        for failure in said.get("Failed", []):
            code = str(failure.get("Code", ""))
            if "ReceiptHandle" not in code:
                raise UnavailableError(
                    f"{self._line}: {what} failed in part: {code:.80}",
                    hint="it is tried again; see the limits of the account when it lasts",
                )

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        counts = await _all(self._depth(queue) for queue in queues)
        return dict(zip(queues, counts, strict=True))

    async def _depth(self, queue: str) -> int:
        said = await self._facts(queue)
        return sum(int(said.get(name, 0)) for name in _COUNTS)

    async def _facts(self, queue: str) -> dict[str, str]:
        """Return the attributes of a queue; none when it is not there."""
        with suppress(Absent):
            said = await self._on(queue, "get_queue_attributes", AttributeNames=["All"])
            attributes: dict[str, str] = said.get("Attributes", {})
            return attributes
        return {}

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        facts = {
            "kind": "sqs, fifo" if self._fifo else "sqs",
            "place": self._line.place,
            "visibility": f"{self._visibility} s",
        }
        found = await _all(self._facts(queue) for queue in queues)
        for queue, attributes in zip(queues, found, strict=True):
            facts[f"queue {queue}"] = _told_of(attributes, self._name(queue), create=self._create)
        return facts

    async def close(self) -> None:
        self._spare = []
        with suppress(OutlastError, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._drop_polls()
                await self._release(list(self._hands.values()))
        await self._drop()

    async def _drop_polls(self) -> None:
        tasks = [*self._polls.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop(self) -> None:
        """Let go of the connections, and of what is under way; nothing is told to SQS."""
        await self._drop_polls()
        self._hands.clear()
        self._urls.clear()
        await self._line.close()

    async def _on(
        self, queue: str, call: str, *, needed: bool = False, patience_s: float = 0, **what: Any
    ) -> dict[str, Any]:
        """Call SQS about a queue; where there is none, make it if needed, or raise Absent."""
        for again in (True, False):
            try:
                url = self._urls.get(queue) or await self._find(queue, make=needed and self._create)
                return await self._line.ask(call, patience_s=patience_s, QueueUrl=url, **what)
            except Absent:
                self._urls.pop(queue, None)
                if not needed:
                    raise
                if not (self._create and again):
                    break
        raise UnavailableError(
            f"{self._line} has no queue {self._name(queue)}, for the tickets of {queue!r:.210}",
            hint="make it, or leave out create=no",
        )

    async def _find(self, queue: str, *, make: bool) -> str:
        async with self._finding.setdefault(queue, asyncio.Lock()):
            if queue in self._urls:
                return self._urls[queue]
            name = self._name(queue)
            try:
                said = await self._line.ask("get_queue_url", QueueName=name)
            except Absent:
                if not make:
                    raise
                form = self._form()
                said = await self._line.ask("create_queue", QueueName=name, Attributes=form)
            url: str = said["QueueUrl"]
            self._urls[queue] = url
            return url

    def _name(self, queue: str) -> str:
        # No prefix has an underscore: so the first one ends it.
        tail = _FIFO if self._fifo else ""
        room = _NAME_CHARS - len(self._prefix) - 1 - len(tail)
        return f"{self._prefix}_{plain_name(queue, room)}{tail}"

    def _form(self) -> dict[str, str]:
        form = {"VisibilityTimeout": str(self._visibility)}
        if self._fifo:
            form |= {
                "FifoQueue": "true",
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        return form


def _told_of(attributes: dict[str, str], name: str, *, create: bool) -> str:
    """Say in a line what a queue of SQS is like, and first what should be changed about it."""
    if not attributes:
        return f"{name}: made at first use" if create else f"warning: there is no {name}; make it"
    retention_s = int(attributes.get("MessageRetentionPeriod", 0))
    warnings = []
    if int(attributes.get("DelaySeconds", 0)):
        warnings.append("DelaySeconds delays every job; set it to 0")
    if retention_s < _SOON_S:
        warnings.append("MessageRetentionPeriod is under an hour: older tickets are lost")
    if attributes.get("RedrivePolicy"):
        warnings.append("RedrivePolicy moves tickets away, which are no jobs; remove it")
    line = f"{name}, retention {retention_s} s"
    return f"warning: {'; '.join(warnings)} ({line})" if warnings else line


def _batches(them: Sequence[T]) -> Iterator[Sequence[T]]:
    return (them[start : start + _BATCH] for start in range(0, len(them), _BATCH))


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at once; when some fails, the rest is given up before the failure is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for error in failed:
        if error is not None:
            raise error
    return [task.result() for task in tasks]
