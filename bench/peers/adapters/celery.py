"""Celery on Redis: a process for each job that runs, acknowledged when it has run."""

from celery import Celery

from bench.peers import witness
from bench.peers.agent import URL, Peer, tool

app = Celery("bench", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
)
noop = app.task(name="noop")(witness.done)
when = app.task(name="when")(witness.started)
long = app.task(name="long")(witness.hang)
TASKS = {"noop": noop, "when": when, "long": long}


class CeleryPeer(Peer):
    """Late acknowledgement, and many jobs fetched ahead, as its guide says for short ones."""

    distributions = ("celery", "kombu", "redis")
    settings = (
        "task_acks_late, task_reject_on_worker_lost, prefetch multiplier 64 (short jobs), "
        "no result backend; visibility timeout 1 h is the default"
    )
    source = "docs.celeryq.dev: userguide/optimizing, userguide/tasks, backends-and-brokers/redis"
    runs = "prefork, one child a process"

    async def submit(self, task: str, n: int) -> None:
        TASKS[task].delay(n)

    def workers(self, processes: int) -> list[list[str]]:
        return [
            tool("celery", "-A", "bench.peers.adapters.celery", "worker", "-c", str(processes),
                 "-n", "bench-%i-%d@%h", "--loglevel", "WARNING")
        ]  # fmt: skip


PEER = CeleryPeer()
