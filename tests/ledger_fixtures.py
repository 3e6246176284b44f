"""The shortest way to say what happens to a ledger."""

from outlast.core.job import NewJob, Want
from outlast.ledger.sqlite import claim, insert, write
from outlast.ledger.sqlite.statements import sql
from outlast.system import new_id

NOW = 1_800_000_000_000_000
LEASE = 30_000_000


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "t", **fields})


def want(holder="w1", limit=10, queues=("default",)):
    return Want(holder, queues, limit)


def plant(monkeypatch, file, change):
    """Let every statement of a file be read as `change` makes it: a planted bug of SQLite's."""

    def planted(asked):
        return change(sql(asked)) if asked == file else sql(asked)

    for module in (claim, insert, write):
        monkeypatch.setattr(module, "sql", planted)
