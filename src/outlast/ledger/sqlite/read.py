"""The read side: filters are data, so a new page of the dashboard needs no new method."""

import json
from collections.abc import Sequence
from typing import Any

import apsw

from outlast.core.job import Doc, Event, Filter, JobRecord, Page
from outlast.core.status import Status
from outlast.ledger.sqlite.statements import fragments, sql

_INDEXED = frozenset({Status.PENDING, Status.SCHEDULED, Status.PROCESSING, Status.FAILED})
# As `find.sql` selects them.
_COLUMNS = (
    "id",
    "number",
    "tenant",
    "task",
    "queue",
    "status",
    "priority",
    "attempt",
    "max_attempts",
    "token",
    "lost",
    "run",
    "seq",
    "args",
    "submitted_at",
    "run_at",
    "started_at",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
    "timeout_us",
    "deadline_us",
    "deadline_at",
    "holder",
    "concurrency_key",
    "key",
    "tags",
    "notify",
    "progress",
    "result",
    "error",
    "artifacts",
    "cursor",
    "sole_key",
)
_PLAIN = (
    "tenant",
    "queue",
    "task",
    "tag",
    "text",
    "holder",
    "submitted_after",
    "submitted_before",
    "due_before",
    "expired_before",
    "overdue_before",
    "fingerprint",
    "ahead_of",
)


def _record(row: tuple[Any, ...]) -> JobRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["status"] = Status(values["status"])
    # A damaged text is shown as such, and does not hide the other rows of its page.
    values["args"] = values["args"].decode("utf-8", "replace")
    return JobRecord(**values)


def _where(where: Filter) -> tuple[list[str], dict[str, Any]]:
    parts = fragments("find")
    clauses: list[str] = []
    binds: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(where, name)
        if value is not None:
            clauses.append(parts[name])
            binds[name] = value
    if where.ids is not None:
        clauses.append(parts["ids"])
        binds["ids"] = json.dumps(where.ids)
    if where.status is not None:
        if where.status in _INDEXED:
            # A literal lets the planner use the partial index of that status.
            clauses.append(parts[f"status:{where.status}"])
        else:
            clauses.append(parts["status"])
            binds["status"] = where.status
    if where.cancel_requested:
        clauses.append(parts["cancel_requested"])
    if where.discarded is not None:
        clauses.append(parts["discarded"])
        binds["discarded"] = where.discarded
    return clauses, binds


def _join(head: str, clauses: list[str], tail: str) -> str:
    condition = " WHERE " + " AND ".join(clauses) if clauses else ""
    return f"{head}{condition} {tail}"


def find(db: apsw.Connection, where: Filter, page: Page) -> list[JobRecord]:
    """Return one page of the jobs that match."""
    parts = fragments("find")
    order = "oldest" if page.oldest_first else "newest"
    clauses, binds = _where(where)
    if page.ended_after is not None:
        order = "ended"
        clauses.append(parts["after:ended"])
        binds["ended_at"], binds["ended_number"] = page.ended_after
    elif page.after is not None:
        clauses.append(parts[f"after:{order}"])
        binds["after"] = page.after
    statement = _join(parts["select"], clauses, parts[f"order:{order}"])
    return [_record(row) for row in db.execute(statement, {**binds, "limit": page.limit})]


def get(db: apsw.Connection, ids: Sequence[str]) -> list[JobRecord | None]:
    """Return the jobs with these IDs, in order."""
    found = {job.id: job for job in find(db, Filter(ids=tuple(ids)), Page(limit=len(ids)))}
    return [found.get(id_) for id_ in ids]


def count(db: apsw.Connection, where: Filter, by: str) -> dict[tuple[str, ...], int]:
    """Count the matching jobs by queue and status, by error, or altogether."""
    parts = fragments("find")
    clauses, binds = _where(where)
    statement = _join(parts[f"count_by:{by}"], clauses, parts[f"group_by:{by}"])
    return {tuple(row[:-1]): row[-1] for row in db.execute(statement, binds)}


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
