"""A line to a server that breaks as a test tells it to."""

import asyncio
from collections import deque
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

from tests.listening import listening

# Of an answer: everything, or so many bytes, or none at all although the server has acted.
WHOLE = None
LOST = 0


class Wire:
    """Carries connections to a server; each one's answer is cut as `plan` says, in order."""

    def __init__(self, url):
        self._target = urlsplit(url)
        self.plan = deque()
        self.connections = 0
        self._open = AsyncExitStack()

    async def _carry(self, reader, writer):
        self.connections += 1
        limit = self.plan.popleft() if self.plan else WHOLE
        far_reader, far_writer = await asyncio.open_connection(
            self._target.hostname, self._target.port
        )
        asking = asyncio.create_task(_pump(reader, far_writer))
        try:
            with suppress(asyncio.CancelledError):  # how `cut` ends it
                await _pump(far_reader, writer, limit)
        finally:
            asking.cancel()
            writer.transport.abort()
            far_writer.transport.abort()

    async def __aenter__(self):
        port = await self._open.enter_async_context(listening(self._carry))
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        await self.cut()

    async def cut(self):
        """Break every connection and take no new one."""
        await self._open.aclose()


async def _pump(reader, writer, limit=WHOLE):
    with suppress(ConnectionError):
        while limit is WHOLE or limit > 0:
            data = await reader.read(65_536 if limit is WHOLE else limit)
            if not data:
                return
            writer.write(data)
            await writer.drain()
            limit = limit if limit is WHOLE else limit - len(data)
        await reader.read(1)  # the server has answered, and nobody will know
