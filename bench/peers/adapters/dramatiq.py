"""Dramatiq on Redis: threads, acknowledged when the job has run."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)
noop = dramatiq.actor(witness.done, actor_name="noop")
when = dramatiq.actor(witness.started, actor_name="when")
long = dramatiq.actor(witness.hang, actor_name="long")
TASKS = {"noop": noop, "when": when, "long": long}


class DramatiqPeer(Peer):
    """Its defaults are the settings that its guide recommends."""

    distributions = ("dramatiq", "redis")
    settings = "defaults: acknowledged after the run, retries, heartbeat timeout 60 s"
    source = "dramatiq.io: guide, advanced (workers), reference (RedisBroker)"
    runs = "8 threads a process"

    async def submit(self, task: str, n: int) -> None:
        TASKS[task].send(n)

    def workers(self, processes: int) -> list[list[str]]:
        return [
            tool("dramatiq", "bench.peers.adapters.dramatiq:broker", "--processes", str(processes))
        ]


PEER = DramatiqPeer()
