"""A server of a test's own that leaves nothing open."""

import asyncio
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def listening(serve):
    """Run `serve(reader, writer)` for each connection to the port that is yielded.

    At the end every connection is closed, also one whose server has not taken a step yet.
    """
    writers = {}

    def connected(reader, writer):
        task = asyncio.ensure_future(serve(reader, writer))
        writers[task] = writer
        task.add_done_callback(lambda ended: writers.pop(ended).transport.abort())

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = dict(writers)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for writer in left.values():
            with suppress(ConnectionError):
                await writer.wait_closed()
