"""The private Kafka that brokers are judged with, and hands that harm it."""

from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from outlast.broker.kafka import KafkaBroker
from outlast.system import new_id

SESSION_S = 2


@asynccontextmanager
async def admin_of(server):
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address, request_timeout_ms=5_000)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete_topics(server, prefix):
    """Delete every topic of a prefix; return their names."""
    async with admin_of(server) as admin:
        topics = [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]
        if topics:
            await admin.delete_topics(topics)
        return topics


async def nothing():
    pass


class KafkaHouse:
    within_s = SESSION_S + 5.0
    sees_hands = True

    def __init__(self, server, *, kind=KafkaBroker, options=""):
        self.server = server
        self.prefix = f"p-{new_id()}"  # a group of its own
        self.url = server.url.replace("/outlast?", f"/{self.prefix}?") + options
        self._kind = kind

    async def open(self):
        return self._kind(self.url)

    async def die(self, broker):
        consumer = broker._member._consumer
        if consumer is not None:
            consumer._coordinator._maybe_leave_group = nothing
        await broker.close()

    async def plant(self, queue, message):
        producer = AIOKafkaProducer(bootstrap_servers=self.server.address)
        await producer.start()
        try:
            await producer.send_and_wait(self._kind(self.url)._topic(queue), message)
        finally:
            await producer.stop()
        return True

    async def wipe(self):
        await delete_topics(self.server, self.prefix)
