"""Tickets in Kafka, or in whatever speaks like it: a topic for each queue, and one group of all.

The URL is `kafka://host:port,host:port/PREFIX`, with user and password where SASL is spoken.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer

from outlast.broker.address import read_address, refused
from outlast.broker.kafka_line import ANSWER_S, ERRORS, OPTIONS, KafkaLine, put_away
from outlast.broker.kafka_member import Member, Receipt
from outlast.broker.message import packed, plain_name, unpacked
from outlast.broker.protocol import Delivery, Ticket

_OWN: Final = frozenset({"batch", "fetch_wait", "max_poll", "session"})
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,79}")
_NAME_CHARS: Final = 249
_DOUBT_S: Final = 1.0  # then it is asked whether the topic is still there
_SLICE_S: Final = 0.25  # then it is asked which partitions are ours
_VERIFY_S: Final = 2.0
_REBALANCE_MS: Final = 5_000  # who does not join again until then is left out
_BATCH_BYTES: Final = 16_384
_HOUR_MS: Final = 3_600_000


class KafkaBroker:
    """Tickets in the topics of one cluster whose names start with a prefix."""

    def __init__(self, url: str) -> None:
        address = read_address(url, OPTIONS | _OWN)
        self._prefix = address.path or "outlast"
        if not _PREFIX.fullmatch(self._prefix):
            raise refused("kafka:// expects a prefix of 1 to 80 letters, digits and hyphens")
        self._line = KafkaLine(address)
        session_ms = 1_000 * address.number("session", 10, 1, 60)
        timing = {
            "session_timeout_ms": session_ms,
            "rebalance_timeout_ms": min(session_ms, _REBALANCE_MS),
            "max_poll_interval_ms": 1_000 * address.number("max_poll", 300, 1, 86_400),
            "fetch_max_wait_ms": address.number("fetch_wait", 500, 1, 10_000),
        }
        self._batch = address.number("batch", _BATCH_BYTES, 1, 1_000_000)
        self._member = Member(self._line, self._prefix, timing)
        self._joining: asyncio.Task[None] | None = None
        self._verifying: asyncio.Task[None] | None = None
        self._verified = 0.0
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    def _topic(self, queue: str) -> str:
        # No prefix has a dot: so the first one ends it.
        return f"{self._prefix}.{plain_name(queue, _NAME_CHARS - len(self._prefix) - 1)}"

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        if not tickets:
            return
        topics = {self._topic(ticket.queue) for ticket in tickets}
        await self._line.ensure(topics)
        sending = asyncio.create_task(self._send(tickets))
        try:
            done, _ = await asyncio.wait({sending}, timeout=_DOUBT_S)
            if not done:
                # The library waits for a topic that is gone until somebody makes it.
                await self._line.ensure(topics, again=True)
                done, _ = await asyncio.wait({sending}, timeout=ANSWER_S - _DOUBT_S)
            if not done:
                raise await self._line.told("Produce", TimeoutError())
            await sending
        except ERRORS as error:
            await self._line.missing(topics)
            raise await self._line.told("Produce", error) from error
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, tickets: Sequence[Ticket]) -> None:
        producer = await self._opened()
        sent = [await producer.send(self._topic(one.queue), packed(one)) for one in tickets]
        await asyncio.gather(*sent)

    async def _opened(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    acks="all", max_batch_size=self._batch, **self._line.settings
                )
                try:
                    await producer.start()
                except BaseException:
                    await put_away(producer)
                    raise
                self._producer = producer
            return self._producer

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop()
        until = clock.time() + timeout
        topics = {self._topic(queue): queue for queue in queues}
        if not topics:
            await asyncio.sleep(timeout)
        while (rest := until - clock.time()) > 0:
            if not await self._joined(topics, rest):
                break
            found = await self._take(topics, limit, min(max(until - clock.time(), 0), _SLICE_S))
            if found:
                return found
            self._doubt(clock.time())
        return []

    async def _joined(self, topics: dict[str, str], wait_s: float) -> bool:
        """Join the group for these topics; a join that takes longer goes on by itself."""
        if self._joining is None:
            self._joining = asyncio.create_task(self._member.join(list(topics)))
        await asyncio.wait({self._joining}, timeout=wait_s)
        if not self._joining.done():
            return False
        done, self._joining = self._joining, None
        done.result()
        return True

    async def _take(self, topics: dict[str, str], limit: int, wait_s: float) -> list[Delivery]:
        found, junk = [], []
        for topic, message, receipt in await self._member.take(topics, limit, wait_s):
            ticket = unpacked(message)
            if ticket is None or ticket.queue != topics[topic]:
                junk.append(receipt)
            else:
                found.append(Delivery(ticket.queue, ticket.job_id, receipt))
        if junk:
            await self._member.settle(junk)
        return found

    def _doubt(self, now: float) -> None:
        """Look now and then whether the topics are those that were joined; tell what went wrong."""
        if self._verifying is None and now - self._verified > _VERIFY_S:
            self._verifying = asyncio.create_task(self._member.verify())
        if self._verifying is not None and self._verifying.done():
            done, self._verifying = self._verifying, None
            self._verified = now
            done.result()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        receipts = [one.receipt for one in deliveries if isinstance(one.receipt, Receipt)]
        await self._member.settle(receipts)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        topics = {self._topic(queue): queue for queue in queues}
        depths = dict.fromkeys(queues, 0)
        spans = await self._line.spans(list(topics))
        committed = await self._line.committed(self._prefix, list(spans))
        for place, (begin, end) in spans.items():
            # What was committed to a topic that is no more says nothing of this one.
            done = committed.get(place, begin)
            depths[topics[place.topic]] += end - (done if begin <= done <= end else begin)
        return depths

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        topics = {queue: self._topic(queue) for queue in queues}
        found = await self._line.facts(list(topics.values()))
        facts = {"kind": "kafka", "place": ",".join(self._line.hosts), "group": self._prefix}
        for queue, topic in topics.items():
            facts[f"queue {queue}"] = _told_of(found.get(topic), topic, create=self._line.create)
        return facts

    async def close(self) -> None:
        tasks = [task for task in (self._joining, self._verifying) if task is not None]
        self._joining = self._verifying = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._member.leave()
        producer, self._producer = self._producer, None
        if producer is not None:
            await put_away(producer)
        await self._line.close()


def _told_of(facts: dict[str, str] | None, topic: str, *, create: bool) -> str:
    """Say in a line what a topic is like, and first what should be changed about it."""
    if facts is None:
        return f"{topic}: made at first use" if create else f"warning: there is no {topic}; make it"
    replicas, insync = int(facts["replicas"]), facts.get("min.insync.replicas", "")
    retention = facts.get("retention.ms", "")
    warnings = []
    if replicas == 1:
        warnings.append("one replica: its broker's death takes the tickets; give it three")
    elif insync == "1":
        warnings.append("min.insync.replicas is 1: acks=all waits for one; set it to 2")
    elif insync.isdecimal() and int(insync) >= replicas:
        warnings.append("min.insync.replicas is all there are: one death refuses tickets")
    if retention.isdecimal() and int(retention) < _HOUR_MS:
        warnings.append("retention.ms is under an hour: older tickets are lost")
    line = f"{topic}, {facts['partitions']} partitions, {replicas} replicas"
    return f"warning: {'; '.join(warnings)} ({line})" if warnings else line
