"""SQLAlchemy, over psycopg or asyncpg: connections and ORM sessions, of both colours.

Statements go through SQLAlchemy itself, which so knows that its transaction has begun.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from outlast.core.errors import InvalidInputError
from outlast.ledger.postgres.statements import named, numbered
from outlast.ledger.rows import Row
from outlast.ledger.within import other_sqlite
from outlast.ledger.within.connected import Connected, Driver

_DRIVERS = ("psycopg", "asyncpg")


class SqlAlchemy(Driver):
    """A connection, or an ORM session, that blocks."""

    library: ClassVar = "sqlalchemy"

    def _here(self) -> Connection:
        theirs = self.connection
        return theirs if isinstance(theirs, Connection) else theirs.connection()

    async def commits_each(self) -> bool:
        return _commits_each(self._here())

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        return _fetch(self._here(), statement, values)


class AsyncSqlAlchemy(SqlAlchemy):
    """A connection, or an ORM session, of an event loop."""

    is_async = True

    async def _there(self) -> AsyncConnection:
        theirs = self.connection
        return theirs if isinstance(theirs, AsyncConnection) else await theirs.connection()

    async def commits_each(self) -> bool:
        return await (await self._there()).run_sync(_commits_each)

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        return await (await self._there()).run_sync(_fetch, statement, values)


def _commits_each(connection: Connection) -> bool:
    _guard(connection)  # of a session, it is known only now
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _fetch(connection: Connection, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
    if connection.dialect.paramstyle == "numeric_dollar":
        text, names = numbered(statement)
        result = connection.exec_driver_sql(text, tuple(values[name] for name in names))
    else:
        result = connection.exec_driver_sql(named(statement), dict(values))
    return [tuple(row) for row in result] if result.returns_rows else ()


def _guard(theirs: Any) -> None:
    """Refuse, as soon as it is known, what SQLAlchemy uses underneath."""
    dialect = theirs.dialect
    if dialect.name == "sqlite":
        raise other_sqlite()
    if dialect.name != "postgresql" or dialect.driver.removesuffix("_async") not in _DRIVERS:
        raise InvalidInputError(
            f"within: expected SQLAlchemy to use {' or '.join(_DRIVERS)}, "
            f"got {dialect.name}+{dialect.driver}"
        )


def adapt(connection: Any) -> Connected | None:
    """Take a connection or a session, and nothing else of SQLAlchemy's."""
    if isinstance(connection, Connection | AsyncConnection):
        _guard(connection)
    match connection:
        case Connection() | Session() | scoped_session():
            return SqlAlchemy(connection)
        case AsyncConnection() | AsyncSession() | async_scoped_session():
            return AsyncSqlAlchemy(connection)
        case _:
            return None
