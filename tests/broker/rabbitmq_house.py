"""A RabbitMQ with hands that harm it."""

import asyncio

import aiormq
from pamqp.commands import Basic

from outlast.broker.rabbitmq import RabbitBroker
from outlast.broker.rabbitmq_hand import queue_name


class RabbitHouse:
    within_s = 2.0  # the server sees the connection end
    sees_hands = False

    def __init__(self, server, kind=RabbitBroker):
        self.server = server
        self._kind = kind

    async def open(self):
        return self._kind(self.server.url)

    async def die(self, broker):
        broker._incoming.cut()
        broker._outgoing.cut()

    async def plant(self, queue, message):
        async with aiormq.connect(self.server.url) as connection:
            channel = await connection.channel()
            await channel.basic_publish(
                message,
                routing_key=queue_name(queue),
                mandatory=True,
                properties=Basic.Properties(delivery_mode=2),
            )
        return True

    async def wipe(self):
        """Delete all queues there are, and whatever is in them."""
        listed = await asyncio.to_thread(
            self.server.control, "--silent", "list_queues", "name", "--no-table-headers"
        )
        async with aiormq.connect(self.server.url) as connection:
            channel = await connection.channel()
            for name in listed.splitlines():
                await channel.queue_delete(name)
