"""SAQ on Redis: an event loop a process."""

from saq import Queue

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

queue = Queue.from_url(URL or "redis://")


async def noop(ctx, *, n):
    witness.done(n)


async def when(ctx, *, n):
    witness.started(n)


async def long(ctx, *, n):
    await witness.hang_async(n)


settings = {"queue": queue, "functions": [noop, when, long], "concurrency": 100}


class SaqPeer(Peer):
    """Retries, and a timeout above the job's length, without which it ends a job after 10 s."""

    distributions = ("saq", "redis", "hiredis")
    settings = "retries=3, timeout 3,600 s for the long job (10 s is the default), concurrency 100"
    source = "saq-py.readthedocs.io: jobs, workers"
    runs = "async, 100 at once"

    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def submit(self, task: str, n: int) -> None:
        limit = {"timeout": 3_600} if task == "long" else {}
        await queue.enqueue(task, n=n, retries=3, **limit)

    def worker(self) -> list[str]:
        return tool("saq", "bench.peers.adapters.saq.settings", "--quiet")


PEER = SaqPeer()
