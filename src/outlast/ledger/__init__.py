"""Status tracking: the ledger is the truth, and everything else is a hint."""

from outlast.core.errors import InvalidInputError
from outlast.ledger.protocol import Bell, Capability, Ledger

__all__ = ["Bell", "Capability", "Ledger", "open_ledger"]


def open_ledger(url: str) -> Ledger:
    """Open the ledger that a URL names: `sqlite:///path`, or `memory://` for one process.

    Raises InvalidInputError when the URL is of no known kind.
    """
    if url.startswith("sqlite:///"):
        from outlast.ledger.sqlite import SqliteLedger  # noqa: PLC0415 - only the driver in use

        return SqliteLedger(url.removeprefix("sqlite:///"))
    if url == "memory://":
        from outlast.ledger.memory import MemoryLedger  # noqa: PLC0415 - as above

        return MemoryLedger()
    raise InvalidInputError(
        f"ledger: expected sqlite:///path or memory://, got {url!r:.100}",
        hint="a relative path has three slashes, an absolute one four",
    )
