"""arq on Redis: an event loop a process."""

from arq import create_pool
from arq.connections import RedisSettings

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool


async def noop(ctx, n):
    witness.done(n)


async def when(ctx, n):
    witness.started(n)


async def long(ctx, n):
    await witness.hang_async(n)


class Worker:
    """What arq's command line reads."""

    redis_settings = RedisSettings.from_dsn(URL or "redis://")
    functions = [noop, when, long]  # noqa: RUF012 - arq's own form
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0
    job_timeout = 3_600


class ArqPeer(Peer):
    """Polls often, since what waits is found by polling alone."""

    distributions = ("arq", "redis", "hiredis")
    settings = "max_jobs 100, poll_delay 10 ms (500 by default), no result kept, job timeout 1 h"
    source = "arq-docs.helpmanuel.io: pessimistic execution, arq.worker.Worker"
    runs = "async, 100 at once"

    async def open(self) -> None:
        self.pool = await create_pool(Worker.redis_settings)

    async def close(self) -> None:
        await self.pool.aclose()

    async def submit(self, task: str, n: int) -> None:
        await self.pool.enqueue_job(task, n)

    def worker(self) -> list[str]:
        return tool("arq", "bench.peers.adapters.arq.Worker")


PEER = ArqPeer()
