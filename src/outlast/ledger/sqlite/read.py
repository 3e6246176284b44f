"""The read side: filters are data, so a new page of the dashboard needs no new method."""

import json
from collections.abc import Sequence
from typing import Any, Final

import apsw

from outlast.core.job import Doc, Event, Filter, JobRecord, Page
from outlast.ledger.query import count_of, page_of
from outlast.ledger.rows import COLUMNS, Row, record_of
from outlast.ledger.sqlite.statements import fragments, sql

_ARGS: Final = COLUMNS.index("args")


def _binds(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as SQLite takes them: it has no lists."""
    return {**values, "ids": json.dumps(values["ids"])} if "ids" in values else values


def _record(row: Row) -> JobRecord:
    # A damaged text is shown as such, and does not hide the other rows of its page.
    args = row[_ARGS].decode("utf-8", "replace")
    return record_of((*row[:_ARGS], args, *row[_ARGS + 1 :]))


def find(db: apsw.Connection, where: Filter, page: Page) -> list[JobRecord]:
    """Return one page of the jobs that match."""
    statement, values = page_of(fragments("find"), where, page)
    return [_record(row) for row in db.execute(statement, _binds(values))]


def get(db: apsw.Connection, ids: Sequence[str]) -> list[JobRecord | None]:
    """Return the jobs with these IDs, in order."""
    found = {job.id: job for job in find(db, Filter(ids=tuple(ids)), Page(limit=len(ids)))}
    return [found.get(id_) for id_ in ids]


def count(db: apsw.Connection, where: Filter, by: str) -> dict[tuple[str, ...], int]:
    """Count the matching jobs by queue and status, by error, or altogether."""
    statement, values = count_of(fragments("find"), where, by)
    return {tuple(row[:-1]): row[-1] for row in db.execute(statement, _binds(values))}


def history(
    db: apsw.Connection, job_id: str | None, after: int, limit: int, type_: str | None
) -> list[Event]:
    """Return events in order, of one job or of all."""
    binds = {"id": job_id, "after": after, "limit": limit, "type": type_}
    name = "history_of_all" if job_id is None else "history_of_job"
    return [Event(*row) for row in db.execute(sql(name), binds)]


def docs(db: apsw.Connection, kind: str, key: str | None) -> list[Doc]:
    """Return the records of a kind, ordered by key."""
    return [Doc(*row) for row in db.execute(sql("docs"), {"kind": kind, "key": key})]
