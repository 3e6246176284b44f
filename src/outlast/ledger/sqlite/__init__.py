"""The ledger in one SQLite file."""

from outlast.ledger.sqlite.store import SqliteLedger

__all__ = ["SqliteLedger"]
