"""A user's own connection to the ledger's file, for an insert in its transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from outlast.core.errors import InvalidInputError
from outlast.ledger.sqlite.connection import in_theirs, schema_version
from outlast.ledger.sqlite.statements import migrations
from outlast.ledger.steps import refuse_unfit
from outlast.ledger.within import Connected


@contextmanager
def within(theirs: Connected, path: str, ring: Callable[[], None]) -> Iterator[apsw.Connection]:
    """Give the connection, if it is to this file, with all that is done inside done or undone."""
    db = theirs.connection
    if not isinstance(db, apsw.Connection):
        raise InvalidInputError(
            f"within: the ledger {path} is in SQLite: expected a connection of apsw, got one of "
            f"{theirs.library}"
        )
    if not db.filename or not Path(path).exists() or not Path(db.filename).samefile(path):
        raise InvalidInputError(
            f"within: expected a connection to the ledger {path}, got one to "
            f"{db.filename or 'a database in memory'}",
            hint="a job can share a transaction only with data in the same file",
        )
    with in_theirs(db) as is_own:
        refuse_unfit(migrations(), schema_version(db), path)
        yield db
    if is_own:
        ring()  # of a commit that is still to come nobody tells, and the sweep will find the job
