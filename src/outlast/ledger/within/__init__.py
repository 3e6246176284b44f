"""Inserts in a transaction of the user's own, by whichever library the user has."""

from importlib import import_module
from typing import Any

from outlast.core.errors import InvalidInputError
from outlast.ledger.within.connected import Connected, Driver

__all__ = ["Connected", "Driver", "connected"]


def connected(connection: Any) -> Connected:
    """Recognise a connection by the library that its class comes from, which is loaded already.

    Raises InvalidInputError when it is of none that is known.
    """
    for kind in type(connection).__mro__:
        found = _of(kind.__module__.partition(".")[0], connection)
        if found is not None:
            return found
    kind = type(connection)
    raise InvalidInputError(
        "within: expected a connection of asyncpg, psycopg 3, SQLAlchemy or Django to PostgreSQL, "
        f"or of apsw to SQLite, got {kind.__module__}.{kind.__qualname__}"
    )


def _of(library: str, connection: Any) -> Connected | None:
    match library:
        case "apsw" | "asyncpg" | "django" | "psycopg" | "sqlalchemy":
            # The one adapter whose library is in use, because no other one can be imported.
            adapter = import_module(f"outlast.ledger.within.{library}")
            found: Connected | None = adapter.adapt(connection)
            return found
        case "sqlite3" | "aiosqlite":
            raise other_sqlite()
        case _:
            return None


def other_sqlite() -> InvalidInputError:
    """Say why Python's own SQLite can't write to the ledger's file.

    A file lock holds between processes, not inside one: two copies of SQLite in one process would
    both write at once, and what one of them has committed would be lost (see the decision record).
    """
    return InvalidInputError(
        "within: sqlite3 brings a SQLite of its own, and two of them in one process destroy each "
        "other's commits: expected a connection of apsw",
        hint="open the file with apsw, or keep the ledger in PostgreSQL",
    )
