"""Status tracking: the ledger is the truth, and everything else is a hint."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from outlast.core.errors import InvalidInputError
from outlast.ledger.postgres.address import SCHEMES, Address, needs_driver
from outlast.ledger.protocol import Bell, Capability, Ledger

__all__ = ["Bell", "Capability", "Ledger", "Sessions", "open_ledger", "shown", "watch_sessions"]


def shown(url: str) -> str:
    """Return a ledger's URL as it may be shown: without a password.

    >>> shown("postgresql://ann:secret@db.test/jobs"), shown("sqlite:///outlast.db")
    ('postgresql://ann@db.test/jobs', 'sqlite:///outlast.db')
    """
    return Address.read(url).place if url.startswith(SCHEMES) else url


class Sessions(Protocol):
    """Death hints between machines, where a ledger has them."""

    def list_holders(self, holders: list[str]) -> None:
        """Note whose leases die with this process."""
        ...

    async def run(self) -> None:
        """Hold this process's lock and look at the others', for ever."""
        ...

    async def let_go(self) -> None:
        """Leave in good order."""
        ...


def watch_sessions(
    url: str, name: str, bury: Callable[[Sequence[str]], Awaitable[object]]
) -> Sessions | None:
    """Return who watches over supervisors on all machines; None: all of them are on this one."""
    if not url.startswith(SCHEMES):
        return None
    from outlast.ledger.postgres.watch import SessionWatch  # noqa: PLC0415 - only the driver in use

    return SessionWatch(Address.read(url), name, bury)


def open_ledger(url: str) -> Ledger:
    """Open the ledger that a URL names.

    `sqlite:///path`, `postgresql://user@host/database`, or `memory://` for one process.
    Raises InvalidInputError when it is of no known kind.
    """
    if url.startswith("sqlite:///"):
        from outlast.ledger.sqlite import SqliteLedger  # noqa: PLC0415 - only the driver in use

        return SqliteLedger(url.removeprefix("sqlite:///"))
    if url.startswith(SCHEMES):
        with needs_driver():
            from outlast.ledger.postgres.store import PostgresLedger  # noqa: PLC0415 - as above

        return PostgresLedger(url)
    if url == "memory://":
        from outlast.ledger.memory import MemoryLedger  # noqa: PLC0415 - as above

        return MemoryLedger()
    raise InvalidInputError(
        "ledger: expected sqlite:///path, postgresql://user@host/database or memory://, "
        f"got {url.partition('@')[2] or url!r:.100}",
        hint="a relative path has three slashes, an absolute one four",
    )
