"""The read side: filters are data, so a new page of the dashboard needs no new method."""

from collections.abc import Sequence

from outlast.core.job import Doc, Event, Filter, JobRecord, Page
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.statements import fragments
from outlast.ledger.query import count_of, page_of
from outlast.ledger.rows import record_of


async def find(db: Session, where: Filter, page: Page) -> list[JobRecord]:
    """Return one page of the jobs that match."""
    statement, values = page_of(fragments("find"), where, page)
    return [record_of(tuple(row)) for row in await db.rows_of(statement, values)]


async def get(db: Session, ids: Sequence[str]) -> list[JobRecord | None]:
    """Return the jobs with these IDs, in order."""
    rows = await find(db, Filter(ids=tuple(ids)), Page(limit=len(ids)))
    found = {job.id: job for job in rows}
    return [found.get(id_) for id_ in ids]


async def count(db: Session, where: Filter, by: str) -> dict[tuple[str, ...], int]:
    """Count the matching jobs by queue and status, by error, or altogether."""
    statement, values = count_of(fragments("find"), where, by)
    return {tuple(row)[:-1]: row[-1] for row in await db.rows_of(statement, values)}


async def history(
    db: Session, job_id: str, after: int, limit: int, type_: str | None
) -> list[Event]:
    """Return a job's events in order."""
    values = {"id": job_id, "after": after, "limit": limit, "type": type_}
    return [Event(*row) for row in await db.rows("history_of_job", **values)]


async def docs(db: Session, kind: str, key: str | None) -> list[Doc]:
    """Return the records of a kind, ordered by key."""
    return [Doc(*row) for row in await db.rows("docs", kind=kind, key=key)]
