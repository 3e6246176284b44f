"""The SQL of the ledger in SQLite."""

from typing import Final

from outlast.ledger.statements import Statements

_STATEMENTS: Final = Statements("outlast.ledger.sqlite")
sql = _STATEMENTS.sql
fragments = _STATEMENTS.fragments
migrations = _STATEMENTS.migrations
