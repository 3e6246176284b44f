"""pgqueuer on PostgreSQL: an event loop a process, jobs fetched in batches."""

from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

TOGETHER = 1_000


@asynccontextmanager
async def factory():
    """Make what `pgq run` runs."""
    connection = await asyncpg.connect(URL)
    runner = PgQueuer(AsyncpgDriver(connection))

    @runner.entrypoint("noop")
    async def noop(job):
        witness.done(int(job.payload))

    @runner.entrypoint("when")
    async def when(job):
        witness.started(int(job.payload))

    @runner.entrypoint("long")
    async def long(job):
        await witness.hang_async(int(job.payload))

    try:
        yield runner
    finally:
        await connection.close()


class PgqueuerPeer(Peer):
    """Larger batches than the default of 10, since the jobs are short."""

    distributions = ("pgqueuer", "asyncpg")
    settings = "batch size 100, uvloop; heartbeat timeout 30 s is the default"
    source = "pgqueuer.readthedocs.io: performance, guides/heartbeat"
    runs = "async, no bound"
    has_bulk = True

    async def open(self) -> None:
        self.connection = await asyncpg.connect(URL)
        self.queries = Queries(AsyncpgDriver(self.connection))
        if not await self.queries.has_table("pgqueuer"):
            await self.queries.install()

    async def close(self) -> None:
        await self.connection.close()

    async def submit(self, task: str, n: int) -> None:
        await self.queries.enqueue(task, str(n).encode())

    async def bulk(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            some = range(first, min(first + TOGETHER, count))
            payloads = [str(n).encode() for n in some]
            await self.queries.enqueue(["noop"] * len(some), payloads, [0] * len(some))

    def worker(self) -> list[str]:
        return tool("pgq", "run", "bench.peers.adapters.pgqueuer:factory", "--batch-size", "100",
                    "--log-level", "WARNING")  # fmt: skip


PEER = PgqueuerPeer()
