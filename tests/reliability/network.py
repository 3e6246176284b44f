"""A network between a ledger and its PostgreSQL, which does what networks do."""

import asyncio
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

PIECE = 16 * 1024


class Network:
    """Carries bytes both ways until it is told otherwise; then what flows is lost, not refused."""

    def __init__(self, url):
        self._there = urlsplit(url)
        self._writers = set()
        self._carriers = set()
        self.answers = asyncio.Event()  # carried while set
        self.answers.set()
        self.requests = asyncio.Event()
        self.requests.set()
        self.piece = PIECE  # how many bytes at once
        self.lost = asyncio.Event()  # an answer was held back
        self.deaf_at = None  # once a request has these bytes, no answer comes through any more
        self.cut_after = None  # so many more bytes of requests, and every connection is reset
        self.url = ""

    @asynccontextmanager
    async def opened(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        there = f"{self._there.hostname}:{self._there.port}"
        self.url = self._there.geturl().replace(there, f"127.0.0.1:{port}")
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for carrier in self._carriers:
                carrier.cancel()
            await asyncio.gather(*self._carriers, return_exceptions=True)

    def reset(self):
        """End every connection at once, without a goodbye."""
        for writer in list(self._writers):
            writer.transport.abort()

    def swallow(self):
        """Let nothing through on the connections that are open; new ones are as good as ever."""
        self.answers.clear()
        self.answers = asyncio.Event()
        self.answers.set()

    async def unheard(self, ask, is_done):
        """Let what is asked be done, and its answer be lost with the connection."""
        call = asyncio.ensure_future(ask)
        async with asyncio.timeout(20):
            while not await is_done():
                pass
        self.reset()
        self.answers.set()
        return await asyncio.gather(call, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._carriers.add(task)
        try:
            theirs, out = await asyncio.open_connection(self._there.hostname, self._there.port)
            self._writers |= {writer, out}
            await asyncio.gather(
                self._carry(reader, out, self.requests, None),
                self._carry(theirs, writer, self.answers, self.lost),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for one in (writer, *({out} if "out" in locals() else ())):
                one.transport.abort()
                self._writers.discard(one)
            self._carriers.discard(task)

    async def _carry(self, reader, writer, is_open, lost):
        while data := await reader.read(self.piece):
            if not is_open.is_set():
                if lost is not None:
                    lost.set()
                await is_open.wait()
            if lost is None and self.deaf_at is not None and self.deaf_at in data:
                self.deaf_at = None
                self.answers.clear()
            if lost is None and self.cut_after is not None:
                data, self.cut_after = data[: self.cut_after], self.cut_after - len(data)
                if self.cut_after <= 0:
                    self.cut_after = None
                    writer.write(data)
                    self.reset()
                    return
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def network(url):
    async with Network(url).opened() as between:
        yield between
