"""asyncpg, which the ledger in PostgreSQL uses itself."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from outlast.ledger.postgres.statements import numbered
from outlast.ledger.rows import Row
from outlast.ledger.within.connected import Connected, Driver


class Asyncpg(Driver):
    """A connection, or what a pool lends."""

    library: ClassVar = "asyncpg"
    is_async = True

    async def commits_each(self) -> bool:
        return not self.connection.is_in_transaction()

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        text, names = numbered(statement)
        found: Any = await self.connection.fetch(text, *(values[name] for name in names))
        return [tuple(row) for row in found]


def adapt(connection: Any) -> Connected | None:
    """Take a connection, and nothing else of asyncpg's."""
    kinds = (asyncpg.Connection, PoolConnectionProxy)
    return Asyncpg(connection) if isinstance(connection, kinds) else None
