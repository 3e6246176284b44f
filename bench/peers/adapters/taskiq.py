"""TaskIQ on Redis streams: an event loop a process, acknowledged when the job has run."""

from taskiq_redis import RedisStreamBroker

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

broker = RedisStreamBroker(URL or "redis://")


@broker.task(task_name="noop")
async def noop(n: int) -> None:
    witness.done(n)


@broker.task(task_name="when")
async def when(n: int) -> None:
    witness.started(n)


@broker.task(task_name="long")
async def long(n: int) -> None:
    await witness.hang_async(n)


TASKS = {"noop": noop, "when": when, "long": long}


class TaskiqPeer(Peer):
    """The broker with acknowledgements, which its guide recommends over the others."""

    distributions = ("taskiq", "taskiq-redis", "redis")
    settings = "RedisStreamBroker, acknowledged when saved; reclaimed after 10 min by default"
    source = "taskiq-python.github.io: guide/cli, available-components/brokers"
    runs = "async, 100 at once"

    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def submit(self, task: str, n: int) -> None:
        await TASKS[task].kiq(n)

    def workers(self, processes: int) -> list[list[str]]:
        module = "bench.peers.adapters.taskiq:broker"
        return [tool("taskiq", "worker", module, "-w", str(processes), "--log-level", "WARNING")]


PEER = TaskiqPeer()
