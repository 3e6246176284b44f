"""The shortest way to say what happens to a ledger."""

from outlast.core.job import NewJob, Want
from outlast.system import new_id

NOW = 1_800_000_000_000_000
LEASE = 30_000_000


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "t", **fields})


def want(holder="w1", limit=10, queues=("default",)):
    return Want(holder, queues, limit)
