"""A Redis with hands that harm it."""

import redis.asyncio

from outlast.broker.redis import RedisBroker


class RedisHouse:
    within_s = 6.0  # five in the dead one's hands, one until somebody looks
    sees_hands = True

    def __init__(self, server, kind=RedisBroker):
        self.server = server
        self._kind = kind

    async def open(self):
        return self._kind(self.server.url)

    async def die(self, broker):
        await broker._pool.disconnect(inuse_connections=True)

    async def plant(self, queue, message):
        await self.ask("RPUSH", f"outlast:waiting:{queue}", message)
        return True

    async def wipe(self):
        await self.ask("FLUSHALL")

    async def ask(self, *command):
        """Send a command as an operator would, and return the answer."""
        async with redis.asyncio.Redis.from_url(self.server.url) as client:
            return await client.execute_command(*command)
