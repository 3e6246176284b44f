"""Huey on SQLite: threads of one consumer process."""

from huey import SqliteHuey

from bench.peers import witness
from bench.peers.agent import FOLDER, Peer, tool

huey = SqliteHuey("bench", filename=str(FOLDER / "huey.db"), fsync=True, results=False)
noop = huey.task(retries=3)(witness.done)
when = huey.task(retries=3)(witness.started)
long = huey.task(retries=3)(witness.hang)
TASKS = {"noop": noop, "when": when, "long": long}


class HueyPeer(Peer):
    """Durable writes, and quick to look for new jobs."""

    distributions = ("huey",)
    settings = "fsync=True, no results stored, polls every 5 ms when idle (-d 0.005 -m 0.005)"
    source = "huey.readthedocs.io: api (SqliteHuey), consumer"
    runs = "2 threads a process"

    async def submit(self, task: str, n: int) -> None:
        TASKS[task](n)

    def worker(self) -> list[str]:
        module = "bench.peers.adapters.huey.huey"
        return tool("huey_consumer", module, "-w", "2", "-d", "0.005", "-m", "0.005", "-q")


PEER = HueyPeer()
