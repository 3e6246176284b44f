"""psycopg 3, with connections that block and such that don't."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from outlast.ledger.postgres.statements import named
from outlast.ledger.rows import Row
from outlast.ledger.within.connected import Connected, Driver


class Psycopg(Driver):
    """A connection that blocks."""

    library: ClassVar = "psycopg"

    async def commits_each(self) -> bool:
        is_idle = self.connection.info.transaction_status == TransactionStatus.IDLE
        return bool(self.connection.autocommit) and is_idle

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        # A cursor of our own: the connection's may make other rows than tuples.
        with psycopg.Cursor(self.connection, row_factory=tuple_row) as cursor:
            cursor.execute(named(statement).encode(), values)
            return cursor.fetchall() if cursor.description else ()


class AsyncPsycopg(Psycopg):
    """A connection of an event loop."""

    is_async = True

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        async with psycopg.AsyncCursor(self.connection, row_factory=tuple_row) as cursor:
            await cursor.execute(named(statement).encode(), values)
            return await cursor.fetchall() if cursor.description else ()


def adapt(connection: Any) -> Connected | None:
    """Take a connection of either kind, and nothing else of psycopg's."""
    match connection:
        case psycopg.Connection():
            return Psycopg(connection)
        case psycopg.AsyncConnection():
            return AsyncPsycopg(connection)
        case _:
            return None
