"""A topic of Kafka that keeps what it is given in order: one batch of a partition at a time."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from outlast.broker.kafka_line import KafkaLine, put_away
from outlast.broker.topic import Message, StreamPlan
from outlast.core.errors import UnavailableError

_HEADERS: Final = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_OPEN_S: Final = 10.0
_BATCH_BYTES: Final = 512 * 1024  # a broker takes a million unless it is told otherwise


class KafkaTopic:
    """The topic that the setting `events` names."""

    def __init__(self, plan: StreamPlan) -> None:
        self._name = plan.name
        self._line = KafkaLine(plan.address)
        self._is_idempotent = plan.address.flag("idempotent", default=True)
        self._producer: AIOKafkaProducer | None = None
        # Where the clients of every language put a key, so that others can lie beside it.
        self._place = DefaultPartitioner()

    async def open(self) -> None:
        if self._producer is not None:
            return
        await self._line.ensure([self._name], again=True)
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=self._is_idempotent,
            max_batch_size=_BATCH_BYTES,
            **self._line.settings,
        )
        try:
            async with asyncio.timeout(_OPEN_S):
                await producer.start()
            self._producer = producer
        except (KafkaError, OSError, TimeoutError) as error:
            raise await self._line.told("Produce", error) from error
        finally:
            if self._producer is None:
                await put_away(producer)

    async def publish(self, messages: Sequence[Message], within_s: float) -> None:
        producer = self._producer
        if producer is None:
            raise UnavailableError(f"the topic {self._name} is not open")
        self._producer = None  # until it is known that nothing is on its way any more
        try:
            async with asyncio.timeout(within_s):
                await self._send(producer, messages)
            self._producer = producer
        except (KafkaError, OSError, TimeoutError) as error:
            raise await self._line.told(f"Produce to {self._name}", error) from error
        finally:
            if self._producer is None:
                await put_away(producer)

    async def _send(self, producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
        """Send in rounds, of which each has at most one batch of a partition.

        So nothing is written after something that was not: what failed, and all behind it, comes
        again.
        """
        partitions = sorted(await producer.partitions_for(self._name))
        waiting: dict[int, deque[Message]] = {}
        for message in messages:
            waiting.setdefault(self._place(message.key, partitions, partitions), deque()).append(
                message
            )
        while waiting:
            sent = []
            for partition, line in waiting.items():
                batch = producer.create_batch()
                while line and self._fits(batch, line[0]):
                    line.popleft()
                batch.close()
                if not batch.record_count():
                    raise UnavailableError(f"an event of {len(line[0].value)} bytes is too large")
                sent.append(await producer.send_batch(batch, self._name, partition=partition))
            await asyncio.gather(*sent)
            waiting = {partition: line for partition, line in waiting.items() if line}

    def _fits(self, batch: object, message: Message) -> bool:
        append = batch.append  # type: ignore[attr-defined]
        added = append(timestamp=None, key=message.key, value=message.value, headers=_HEADERS)
        return added is not None

    async def facts(self) -> Mapping[str, str]:
        return (await self._line.facts([self._name])).get(self._name, {})

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await put_away(producer)
        await self._line.close()
