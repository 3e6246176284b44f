"""Django's connections, as `django.db.connection` or `connections["alias"]` gives them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from outlast.core.errors import InvalidInputError
from outlast.ledger.postgres.statements import named
from outlast.ledger.rows import Row
from outlast.ledger.within import other_sqlite
from outlast.ledger.within.connected import Connected, Driver


class Django(Driver):
    """A connection of this thread; it blocks."""

    library: ClassVar = "django"

    async def commits_each(self) -> bool:
        return bool(self.connection.get_autocommit())

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        with self.connection.cursor() as cursor:
            cursor.execute(named(statement), values)
            return list(cursor.fetchall()) if cursor.description else ()


def adapt(connection: Any) -> Connected | None:
    """Take a connection to PostgreSQL, and nothing else of Django's."""
    vendor = getattr(connection, "vendor", None)
    if vendor == "sqlite":
        raise other_sqlite()
    if vendor not in {None, "postgresql"}:
        raise InvalidInputError(f"within: expected Django to use PostgreSQL, got {vendor}")
    return None if vendor is None else Django(connection)
