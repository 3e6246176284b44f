"""Procrastinate on PostgreSQL: an event loop a process."""

import procrastinate

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL, max_size=20))
TOGETHER = 1_000


@app.task(name="noop")
async def noop(n: int) -> None:
    witness.done(n)


@app.task(name="when")
async def when(n: int) -> None:
    witness.started(n)


@app.task(name="long")
async def long(n: int) -> None:
    await witness.hang_async(n)


@app.periodic(cron="*/1 * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled(context: procrastinate.JobContext, timestamp: int) -> None:
    """Do what its guide tells to add, for jobs whose worker has died."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


TASKS = {"noop": noop, "when": when, "long": long}


class ProcrastinatePeer(Peer):
    """With the task of its guide that retries what a dead worker held."""

    distributions = ("procrastinate", "psycopg")
    settings = "concurrency 20, pool of 20, the guide's periodic task that retries stalled jobs"
    source = "procrastinate.readthedocs.io: howto/production (retry stalled jobs, concurrency)"
    runs = "async, 20 at once"
    has_bulk = True

    async def open(self) -> None:
        await app.open_async()
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()

    async def close(self) -> None:
        await app.close_async()

    async def submit(self, task: str, n: int) -> None:
        await TASKS[task].defer_async(n=n)

    async def bulk(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            some = range(first, min(first + TOGETHER, count))
            await noop.batch_defer_async(*({"n": n} for n in some))

    def worker(self) -> list[str]:
        return tool("procrastinate", "-a", "bench.peers.adapters.procrastinate.app", "worker",
                    "-c", "20")  # fmt: skip


PEER = ProcrastinatePeer()
