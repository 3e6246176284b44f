"""One member of a Kafka consumer group: what it has in hand, and what of it is settled."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import TopicPartition

from outlast.broker.kafka_line import ANSWER_S, ERRORS, KafkaLine, put_away
from outlast.core.errors import UnavailableError

_SETTLE_S: Final = 2.0
_FORGET_S: Final = 60.0  # for how long a topic is kept that nobody asks for
_SETTLED_S: Final = 3.0  # then the library has heard of a topic that is there
_BEAT_MS: Final = 1_000


class Receipt(NamedTuple):
    """Where a ticket was taken from; of no worth once its partition went to another."""

    epoch: int
    place: TopicPartition
    offset: int


class Taken(NamedTuple):
    """A message, as it was found."""

    topic: str
    message: bytes
    receipt: Receipt


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """A consumer that polls for itself, whatever the jobs do that its tickets wake."""

    def __init__(self, line: KafkaLine, group: str, timing: dict[str, int]) -> None:
        self._line = line
        self._group = group
        self._timing = timing
        self._consumer: AIOKafkaConsumer | None = None
        self._asked: dict[str, float] = {}  # topics, and when they were asked for
        self._hands: dict[TopicPartition, dict[int, None]] = {}
        self._next: dict[TopicPartition, int] = {}  # what comes after all that was taken
        self._epoch = 0
        self._since = 0.0  # when it was said last what is listened to
        self._leaving: set[asyncio.Task[None]] = set()

    async def join(self, topics: Iterable[str]) -> None:
        """Listen to these topics, beside those that were asked for lately."""
        now = asyncio.get_running_loop().time()
        wanted = dict.fromkeys(topics, now)
        fresh = set(wanted) - set(self._asked)
        self._asked |= wanted
        if self._consumer is not None and not fresh:
            return
        for topic, when in list(self._asked.items()):
            if now - when > _FORGET_S:
                del self._asked[topic]
        await self._line.ensure(self._asked)
        if self._consumer is None:
            self._consumer = await self._opened()
        self._asked |= wanted  # who left in the meantime has forgotten them
        self._since = now
        self._consumer.subscribe(topics=sorted(self._asked), listener=self)

    async def _opened(self) -> AIOKafkaConsumer:
        # To join is answered when all others have joined, or are given up: who does not wait for
        # that joins again and again, and so do the others.
        patience_ms = self._timing["session_timeout_ms"] + int(ANSWER_S * 1_000)
        consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=_BEAT_MS,
            **self._timing,
            **self._line.settings | {"request_timeout_ms": patience_ms},
        )
        try:
            await consumer.start()
        except ERRORS as error:
            await put_away(consumer)
            raise await self._line.told("Metadata", error) from error
        except BaseException:
            await put_away(consumer)
            raise
        return consumer

    async def take(self, topics: Iterable[str], limit: int, wait_s: float) -> list[Taken]:
        """Take up to so many messages of these topics; there may be none in this time."""
        wanted, consumer = set(topics), self._consumer
        if consumer is None:
            return []
        places = [place for place in consumer.assignment() if place.topic in wanted]
        if not places:  # of us, so far
            await asyncio.sleep(min(wait_s, 0.02))
            return []
        try:
            found: dict[TopicPartition, Sequence[Any]] = await consumer.getmany(
                *places, timeout_ms=int(wait_s * 1_000), max_records=limit
            )
        except ConsumerStoppedError:  # a doubt about its topics made us leave
            return []
        except KafkaError as error:
            raise await self._line.told("Fetch", error) from error
        taken = []
        for place, records in found.items():
            for record in records:
                self._hands.setdefault(place, {})[record.offset] = None
                self._next[place] = record.offset + 1
                receipt = Receipt(self._epoch, place, record.offset)
                taken.append(Taken(place.topic, record.value or b"", receipt))
        return taken

    async def settle(self, receipts: Iterable[Receipt]) -> None:
        """Commit up to the first message of each partition that is still in hand."""
        touched = set()
        for epoch, place, offset in receipts:
            if epoch == self._epoch and place in self._hands:
                self._hands[place].pop(offset, None)
                touched.add(place)
        upto = {place: min(self._hands[place], default=self._next[place]) for place in touched}
        if upto and self._consumer is not None:
            await self._commit(self._consumer, upto)

    async def _commit(self, consumer: AIOKafkaConsumer, upto: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(_SETTLE_S):
                await consumer.commit(upto)
        except (CommitFailedError, ConsumerStoppedError, IllegalStateError):
            pass  # they went to another member, who gets the tickets again
        except (KafkaError, TimeoutError) as error:
            # The library tries again and again where the topic is gone.
            gone = await self._line.missing({place.topic for place in upto})
            if not gone and not isinstance(error, UnknownTopicOrPartitionError):
                raise await self._line.told("OffsetCommit", error) from error
            await self.leave()

    async def verify(self) -> None:
        """Start afresh where a topic is gone, or is not the one that was read from."""
        consumer = self._consumer
        if consumer is None:
            return
        spans = await self._line.spans(sorted(self._asked))
        there = {place.topic for place in spans}
        is_old = asyncio.get_running_loop().time() - self._since > _SETTLED_S
        gone = any(
            topic not in there or (is_old and consumer.partitions_for_topic(topic) is None)
            for topic in self._asked
        )
        ahead = any(offset > spans[place].end for place, offset in self._next.items() if not gone)
        if (gone or ahead) and consumer is self._consumer:
            await self.leave()

    async def leave(self) -> None:
        """Leave the group; what is in hand goes to others, or comes again."""
        consumer, self._consumer = self._consumer, None
        self._forget()
        self._asked.clear()
        if consumer is not None:
            self._leaving.add(asyncio.create_task(put_away(consumer)))
        for task in list(self._leaving):
            await asyncio.shield(task)  # who is cancelled leaves it to the next who leaves
            self._leaving.discard(task)

    def _forget(self) -> None:
        self._epoch += 1
        self._hands.clear()
        self._next.clear()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget what is in hand: it comes again, to us or to another."""
        with suppress(UnavailableError):
            self._forget()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start from what was committed, as the library does."""
