"""RQ: its default worker, which forks for each job."""

from redis import Redis
from rq import Queue, Retry

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

# `rq worker -c` imports this module, so that the forks find it loaded, as RQ's guide advises.
REDIS_URL = URL
TASKS = {"noop": witness.done, "when": witness.started, "long": witness.hang}
TOGETHER = 1_000


class RqPeer(Peer):
    """The default worker, with the code loaded before the fork."""

    distributions = ("rq", "redis")
    settings = "Retry(max=3), tasks loaded before the fork, job timeout 3,600 s, no result kept"
    source = "python-rq.org/docs: workers, exceptions (retries), results"
    runs = "one fork a job, one job at a time"
    has_bulk = True

    def __init__(self) -> None:
        self.queue = Queue("bench", connection=Redis.from_url(URL), default_timeout=3_600)

    async def submit(self, task: str, n: int) -> None:
        self.queue.enqueue(TASKS[task], n, retry=Retry(max=3), result_ttl=0)

    async def bulk(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            self.queue.enqueue_many(
                Queue.prepare_data(witness.done, (n,), retry=Retry(max=3), result_ttl=0)
                for n in range(first, min(first + TOGETHER, count))
            )

    def worker(self) -> list[str]:
        return tool("rq", "worker", "-q", "-c", "bench.peers.adapters.rq", "bench")


PEER = RqPeer()
