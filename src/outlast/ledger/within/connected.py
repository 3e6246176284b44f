"""What the ledgers know of a user's own connection, whatever its library."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from outlast.ledger.rows import Row


class Connected:
    """A user's connection, and what is special about its library."""

    library: ClassVar[str]
    is_async: bool = False  # belongs to an event loop

    def __init__(self, connection: Any) -> None:
        self.connection = connection


class Driver(Connected):
    """A user's connection to PostgreSQL; one that blocks waits for nothing in its coroutines."""

    async def commits_each(self) -> bool:
        """Whether each statement would be a transaction of its own."""
        raise NotImplementedError

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        """Run a statement with values like `:name`; return its rows, if it is one that has some."""
        raise NotImplementedError
