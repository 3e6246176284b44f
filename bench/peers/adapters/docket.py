"""docket on Redis streams: an event loop a process, leases renewed while a job runs."""

import asyncio
import sys
from datetime import timedelta

from docket import Docket, Worker

from bench.peers import witness
from bench.peers.agent import URL, Peer


async def noop(n: int) -> None:
    witness.done(n)


async def when(n: int) -> None:
    witness.started(n)


async def long(n: int) -> None:
    await witness.hang_async(n)


tasks = [noop, when, long]
TASKS = {"noop": noop, "when": when, "long": long}


class DocketPeer(Peer):
    """More at once than by default, and sooner after more when all slots were taken."""

    distributions = ("pydocket", "redis")
    settings = (
        "concurrency 50 (10 by default), looks again after 10 ms when all are taken (250 ms); "
        "redelivered after 5 min by default"
    )
    source = "docket.lol: production, getting started"
    runs = "async, 50 at once"
    has_bulk = True

    async def open(self) -> None:
        self.docket = await Docket(name="bench", url=URL).__aenter__()
        for task in tasks:
            self.docket.register(task)

    async def close(self) -> None:
        await self.docket.__aexit__(None, None, None)

    async def submit(self, task: str, n: int) -> None:
        await self.docket.add(TASKS[task])(n)

    async def bulk(self, count: int) -> None:
        await self.docket.add_many(self.docket.call(noop)(n) for n in range(count))

    def worker(self) -> list[str]:
        # Its command line knows whole seconds only.
        return [sys.executable, "-m", "bench.peers.adapters.docket"]


async def work() -> None:
    async with Docket(name="bench", url=URL) as docket:
        for task in tasks:
            docket.register(task)
        soon = timedelta(milliseconds=10)
        async with Worker(docket, concurrency=50, minimum_check_interval=soon) as worker:
            await worker.run_forever()


PEER = DocketPeer()

if __name__ == "__main__":
    asyncio.run(work())
