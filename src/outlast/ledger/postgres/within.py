"""A user's own connection to the ledger's database, for an insert in its transaction."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.core.job import Inserted, NewJob
from outlast.ledger.postgres import insert
from outlast.ledger.postgres.bell import CHANNEL
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.statements import fragments
from outlast.ledger.rows import Row
from outlast.ledger.within import Connected, Driver

_SNAPSHOTS = frozenset({"repeatable read", "serializable"})


class _Guest(Session):
    """The session of a user's connection, whose errors are the user's, as its transaction is."""

    __slots__ = ("_driver",)
    can_copy = False  # their driver has a way of its own, or none

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver.connection, is_pooled=False)
        self._driver = driver

    async def rows_of(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        # To most drivers a list is an array, and a tuple is a record.
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return await self._driver.fetch(statement, plain)

    @contextlib.asynccontextmanager
    async def transaction(self, begin: str = "begin") -> AsyncIterator[None]:
        """Be in the transaction that is open; in one of its own where each statement would be."""
        parts = fragments("within")
        if not await self._driver.commits_each():
            yield
            return
        await self.rows_of(parts["begin"], {})
        try:
            yield
        except BaseException:
            await self.rows_of(parts["rollback"], {})
            raise
        await self.rows_of(parts["commit"], {})

    @contextlib.asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        parts = fragments("within")

        async def undo() -> None:
            await self.rows_of(parts["undo"], {})

        await self.rows_of(parts["part"], {})
        yield undo
        await self.rows_of(parts["parted"], {})


async def identity_of(db: Session) -> tuple[Any, ...]:
    """Return what tells this database from every other one."""
    (found,) = await db.rows_of(fragments("within")["identity"], {})
    return tuple(found)


async def insert_within(
    theirs: Connected,
    jobs: Sequence[NewJob],
    *,
    atomic: bool = False,
    place: str,
    identity: tuple[Any, ...],
) -> list[Inserted]:
    """Insert jobs as ever, and let the commit wake the workers."""
    if not isinstance(theirs, Driver):
        raise InvalidInputError(
            f"within: the ledger {place} is in PostgreSQL: expected a connection to it, got one "
            f"of {theirs.library}"
        )
    db = _Guest(theirs)
    async with db.transaction():
        await _check(db, jobs, place, identity)
        work = insert.insert_all if atomic else insert.insert
        return await work(db, jobs, None)


async def _check(
    db: Session, jobs: Sequence[NewJob], place: str, identity: tuple[Any, ...]
) -> None:
    """Refuse, before anything fails in it, a transaction in which the rules would not hold."""
    parts = fragments("within")
    ((level, is_there, *found, _),) = await db.rows_of(parts["look"], {"channel": CHANNEL})
    if tuple(found) != identity:
        what = "" if is_there else ", which has no ledger"
        raise InvalidInputError(
            f"within: expected a connection to the ledger {place}, got one to the database "
            f"{found[0]}{what}",
            hint="a job can share a transaction only with data in the same database",
        )
    if not is_there:
        raise UnavailableError(f"the ledger {place} is not migrated", hint="run: outlast migrate")
    judged = [job for job in jobs if job.sole or job.tenant or job.max_depth is not None]
    if level in _SNAPSHOTS and judged:
        raise InvalidInputError(
            f"task {judged[0].task}: a bounded queue and `unique` are judged by what others have "
            f"committed: expected a transaction of level read committed, got {level}",
            hint="submit it in a transaction of that level, or after the commit",
        )
