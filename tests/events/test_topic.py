"""Nothing is written to a partition behind a batch that was not; a missing topic is told."""

import asyncio
from contextlib import suppress

import pytest
from aiokafka.errors import KafkaError, RequestTimedOutError

from outlast.broker.kafka_topic import KafkaTopic
from outlast.broker.topic import Message, open_topic
from outlast.core.errors import CapabilityError, UnavailableError
from tests.events.rig import Place, plan_of

WITHIN_S = 5


class Batch:
    """A batch that two messages fill."""

    def __init__(self):
        self.values = []

    def append(self, *, timestamp, key, value, headers):
        if len(self.values) == 2:
            return None
        self.values.append(value)
        return True

    def record_count(self):
        return len(self.values)

    def close(self):
        pass


class Cluster:
    """A Kafka whose client writes what it is given, but for the batch that has this message."""

    def __init__(self, refused):
        self.written = []
        self._refused = refused
        self.client = self

    async def partitions_for(self, topic):
        return {0}

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic, *, partition):
        answer = asyncio.get_running_loop().create_future()
        if self._refused in batch.values:
            answer.set_exception(RequestTimedOutError())
        else:
            self.written += batch.values
            answer.set_result(None)
        return answer

    async def stop(self):
        pass

    async def close(self):
        pass


class Rash(KafkaTopic):
    """A planted bug: the next batch is sent before the one before it is acknowledged."""

    async def _send(self, producer, messages):
        waiting, sent = list(messages), []
        while waiting:
            batch = producer.create_batch()
            while waiting and self._fits(batch, waiting[0]):
                waiting.pop(0)
            sent.append(await producer.send_batch(batch, "t", partition=0))
        await asyncio.gather(*sent)


async def written_until_done(kind):
    """Publish six messages, of which the fourth is refused once; return what was written."""
    messages = [Message(b"job", b"%d" % n) for n in range(6)]
    topic = kind(plan_of())
    first, second = Cluster(b"3"), Cluster(None)
    topic._producer = first
    with suppress(KafkaError, UnavailableError):
        await topic.publish(messages, WITHIN_S)
    topic._producer = second
    await topic.publish(messages, WITHIN_S)
    await topic.close()
    return [int(value) for value in first.written + second.written]


async def test_nothing_is_written_behind_what_failed():
    written = await written_until_done(KafkaTopic)

    assert list(dict.fromkeys(written)) == [0, 1, 2, 3, 4, 5]


async def test_writing_on_behind_what_failed_is_caught():
    written = await written_until_done(Rash)

    assert list(dict.fromkeys(written)) != [0, 1, 2, 3, 4, 5]


async def test_a_missing_topic_is_told_where_none_is_to_be_made(kafka):
    place = Place(kafka)
    topic = open_topic(place.plan("create=no"))

    with pytest.raises(UnavailableError, match=f"has no topic {place.name}"):
        await topic.open()
    facts = await topic.facts()

    assert facts == {}
    await topic.close()


async def test_a_missing_client_is_told_with_what_brings_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "outlast.broker.kafka_topic", None)

    with pytest.raises(CapabilityError, match=r"outlast\[kafka\]"):
        open_topic(plan_of())
