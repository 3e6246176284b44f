"""DBOS on PostgreSQL: each job a workflow, on a queue in the database."""

import os
import sys
import threading

from dbos import DBOS

from bench.peers import witness
from bench.peers.agent import URL, Peer

QUEUE = "bench"
CONFIG = {
    "name": "bench",
    "system_database_url": URL,
    # A worker that starts again recovers what it had under its own name, and no other's.
    "executor_id": os.environ.get("BENCH_WORKER", "submitter"),
    "application_version": "1",
    "log_level": "WARNING",
}
LIMITS = {"worker_concurrency": 100, "polling_interval_sec": 0.01}


@DBOS.workflow()
async def noop(n: int) -> None:
    witness.done(n)


@DBOS.workflow()
async def when(n: int) -> None:
    witness.started(n)


@DBOS.workflow()
async def long(n: int) -> None:
    await witness.hang_async(n)


TASKS = {"noop": noop, "when": when, "long": long}


def launch(*, works: bool) -> None:
    DBOS(config=CONFIG)
    DBOS.listen_queues([QUEUE] if works else [])
    DBOS.launch()


class DbosPeer(Peer):
    """Polls often; each worker has an identity of its own, as its guide asks for a fleet."""

    distributions = ("dbos", "sqlalchemy", "psycopg")
    settings = (
        "worker_concurrency 100, polls every 10 ms (1 s by default), executor IDs, no Conductor"
    )
    source = "docs.dbos.dev: python/tutorials/queue-tutorial, production/workflow-recovery"
    runs = "async workflows, 100 at once"

    async def open(self) -> None:
        launch(works=False)
        await DBOS.register_queue_async(QUEUE, **LIMITS)

    async def close(self) -> None:
        DBOS.destroy()

    async def submit(self, task: str, n: int) -> None:
        await DBOS.enqueue_workflow_async(QUEUE, TASKS[task], n)

    def worker(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.adapters.dbos"]


PEER = DbosPeer()

if __name__ == "__main__":
    launch(works=True)
    DBOS.register_queue(QUEUE, **LIMITS)
    threading.Event().wait()
