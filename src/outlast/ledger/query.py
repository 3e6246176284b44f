"""A filter as SQL: which fragments of a store's `find.sql` say it, and with which values."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.core.job import Filter, Page
from outlast.core.status import Status

_INDEXED: Final = frozenset({Status.PENDING, Status.SCHEDULED, Status.PROCESSING, Status.FAILED})
_PLAIN: Final = (
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
Parts = Mapping[str, str]


def page_of(parts: Parts, where: Filter, page: Page) -> tuple[str, dict[str, Any]]:
    """Return the statement for a page of the jobs that match, and its values."""
    order = "oldest" if page.oldest_first else "newest"
    clauses, values = _where(parts, where)
    if page.ended_after is not None:
        order = "ended"
        clauses.append(parts["after:ended"])
        values["ended_at"], values["ended_number"] = page.ended_after
    elif page.after is not None:
        clauses.append(parts[f"after:{order}"])
        values["after"] = page.after
    statement = _join(parts["select"], clauses, parts[f"order:{order}"])
    return statement, {**values, "limit": page.limit}


def count_of(parts: Parts, where: Filter, by: str) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the jobs that match, and its values."""
    clauses, values = _where(parts, where)
    return _join(parts[f"count_by:{by}"], clauses, parts[f"group_by:{by}"]), values


def _where(parts: Parts, where: Filter) -> tuple[list[str], dict[str, Any]]:
    clauses: list[str] = []
    values: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(where, name)
        if value is not None:
            clauses.append(parts[name])
            values[name] = value
    if where.ids is not None:
        clauses.append(parts["ids"])
        values["ids"] = where.ids
    if where.status is not None:
        if where.status in _INDEXED:
            # A literal lets the planner use the partial index of that status.
            clauses.append(parts[f"status:{where.status}"])
        else:
            clauses.append(parts["status"])
            values["status"] = where.status
    if where.cancel_requested:
        clauses.append(parts["cancel_requested"])
    if where.discarded is not None:
        clauses.append(parts["discarded"])
        values["discarded"] = where.discarded
    return clauses, values


def _join(head: str, clauses: list[str], tail: str) -> str:
    condition = " WHERE " + " AND ".join(clauses) if clauses else ""
    return f"{head}{condition} {tail}"
