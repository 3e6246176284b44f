"""The private SQS that brokers are judged with, and hands that harm it."""

from contextlib import asynccontextmanager

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from outlast.broker.sqs import SqsBroker
from outlast.testing.sqs import REGION

VISIBILITY_S = 2


@asynccontextmanager
async def client_of(server):
    making = get_session().create_client(
        "sqs", region_name=REGION, endpoint_url=server.endpoint, config=AioConfig(read_timeout=5)
    )
    async with making as client:
        yield client


class SqsHouse:
    within_s = VISIBILITY_S + 1.0
    sees_hands = True

    def __init__(self, server, *, fifo=False, kind=SqsBroker):
        self.server = server
        self.url = server.url + ("&fifo=1" if fifo else "")
        self._fifo = fifo
        self._kind = kind

    async def open(self):
        return self._kind(self.url)

    async def die(self, broker):
        await broker._drop()

    async def plant(self, queue, message):
        try:
            text = message.decode()
        except UnicodeDecodeError:
            return False  # SQS takes characters only, of those that XML knows
        if not text:
            return False
        group = {"MessageGroupId": "g", "MessageDeduplicationId": str(hash(text))}
        async with client_of(self.server) as client:
            url = await client.get_queue_url(QueueName=SqsBroker(self.url)._name(queue))
            await client.send_message(
                QueueUrl=url["QueueUrl"], MessageBody=text, **(group if self._fifo else {})
            )
        return True

    async def wipe(self):
        """Delete every queue."""
        async with client_of(self.server) as client:
            for url in (await client.list_queues()).get("QueueUrls", []):
                await client.delete_queue(QueueUrl=url)
