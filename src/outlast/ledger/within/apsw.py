"""apsw, which the ledger in SQLite uses itself."""

from typing import Any, ClassVar

import apsw

from outlast.ledger.within.connected import Connected


class Apsw(Connected):
    """A connection of apsw; it blocks."""

    library: ClassVar = "apsw"


def adapt(connection: Any) -> Connected | None:
    """Take a connection, and nothing else of apsw's."""
    return Apsw(connection) if isinstance(connection, apsw.Connection) else None
