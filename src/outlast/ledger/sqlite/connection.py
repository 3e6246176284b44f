"""Opens the ledger's file with the only settings under which its promises hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Final

import apsw

from outlast.core.errors import CapabilityError, CorruptError, OutlastError, UnavailableError
from outlast.ledger.moved import moved
from outlast.ledger.sqlite.reserve import disk_full
from outlast.ledger.sqlite.statements import fragments

# Below this, two connections that write and checkpoint at once can corrupt the file
# (sqlite.org/wal.html, section "WAL-reset bug").
SQLITE_MIN: Final = 3_051_003
BUSY_DEADLINE_S: Final = 10.0
CHECKPOINT_PAGES: Final = 4_000  # jobs of many keys lie on many pages: those are written once then
CHECKPOINT_PAGES_MIN: Final = 1_000  # while the disk is full, and no more than the reserve is there
_PAUSES_S: Final = (0.0002, 0.0005, 0.001, 0.002)


class Patience:
    """Waits for the write lock in short steps: SQLite's own handler sleeps up to 100 ms at once."""

    def __init__(self) -> None:
        self.none = False  # while set, a lock that is held is an error at once
        self._pause = Event()

    def __call__(self, tries: int) -> bool:
        """Wait a little and say whether to try again."""
        if self.none:
            return False
        self._pause.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
        return tries < BUSY_DEADLINE_S / _PAUSES_S[-1]


def connect(path: str, patience: Patience | None = None) -> apsw.Connection:
    """Open the file for reading and writing; raise with one clear sentence when that fails."""
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_MIN:
        raise CapabilityError(
            f"SQLite {apsw.sqlite_lib_version()} has a bug that corrupts shared files: "
            "expected 3.51.3 or newer",
            hint="pip install --upgrade apsw",
        )
    if not Path(path).parent.is_dir():
        raise UnavailableError(
            f"can't open the ledger {path}: its folder does not exist",
            hint="make the folder, or give another --ledger",
        )
    try:
        connection = apsw.Connection(path)
        connection.set_busy_handler(patience or Patience())
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except apsw.Error as error:
        raise translated(error, path) from error
    return connection


def remember_undo(db: apsw.Connection) -> None:
    """Keep in memory, and not in a file beside it, what takes back a statement that fails.

    A claim of many keys changes a page for each: with a file, every page was written twice.
    """
    db.execute("PRAGMA temp_store = MEMORY")


def one(db: apsw.Connection, statement: str, binds: object = ()) -> tuple[Any, ...] | None:
    """Return the first row, untyped: what a column holds is the schema's to say."""
    row: tuple[Any, ...] | None = db.execute(statement, binds).fetchone()  # type: ignore[arg-type]
    return row


def sole(db: apsw.Connection, statement: str, binds: object = ()) -> tuple[Any, ...]:
    """Return the row that such a statement always has."""
    row = one(db, statement, binds)
    if row is None:
        raise CorruptError("the ledger gave no row where there always is one")
    return row


def rows(db: apsw.Connection, statement: str, binds: object = ()) -> list[tuple[Any, ...]]:
    """Return all rows, untyped."""
    found: Any = db.execute(statement, binds).fetchall()  # type: ignore[arg-type]
    return list(found)


def begin(db: apsw.Connection, *, writes: bool) -> None:
    """Start a transaction; a writing one takes the write lock first, so it can't fail later."""
    db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def commit(db: apsw.Connection) -> None:
    """Make the transaction durable."""
    db.execute("COMMIT")


def on_commit(db: apsw.Connection, grown: Callable[[int], None]) -> None:
    """Tell how many pages wait in the log after each commit; who listens also checkpoints."""

    def hook(_db: apsw.Connection, _name: str, pages: int) -> int:
        grown(pages)
        return 0

    db.set_wal_hook(hook)


def checkpoint(db: apsw.Connection) -> None:
    """Copy the log into the file as far as readers allow, holding up nobody."""
    # A failure costs nothing but a longer log, and the next commit finds a broken disk itself.
    with suppress(apsw.Error):
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def fold_log(path: str) -> None:
    """Put all of the log into the file, so that the file alone is the ledger."""
    db = connect(path)
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()


def roll_back(db: apsw.Connection) -> None:
    """Undo the transaction, if one is open."""
    if db.in_transaction:
        db.execute("ROLLBACK")


@contextmanager
def all_or_none(db: apsw.Connection) -> Iterator[Callable[[], None]]:
    """Give a way to undo what was done inside, without harming the rest of the transaction."""
    db.execute("SAVEPOINT part")

    def undo() -> None:
        db.execute("ROLLBACK TO part")

    yield undo
    db.execute("RELEASE part")


@contextmanager
def in_theirs(db: apsw.Connection) -> Iterator[bool]:
    """Do what is inside in the open transaction, as a whole; in one of its own where none is open.

    Gives whether it is one of its own.
    """
    is_own = not db.in_transaction
    tracer, db.row_trace = db.row_trace, None
    try:
        if is_own:
            begin(db, writes=True)
        with db:
            yield is_own
        if is_own:
            commit(db)
    except BaseException:
        if is_own:
            roll_back(db)
        raise
    finally:
        db.row_trace = tracer


def schema_version(db: apsw.Connection) -> int:
    """Return the version that the last migration left."""
    return int(sole(db, "PRAGMA user_version")[0])


def set_schema_version(db: apsw.Connection, version: int) -> None:
    """Note that a migration was applied, in its own transaction."""
    db.execute(f"PRAGMA user_version = {version:d}")


def structure(db: apsw.Connection) -> tuple[str, str]:
    """Return SQLite's verdict on the file (`ok`, or the first fault) and the journal mode."""
    (verdict,) = sole(db, "PRAGMA quick_check(1)")
    (mode,) = sole(db, "PRAGMA journal_mode")
    return verdict, mode


def refuse_if_moved(db: apsw.Connection, path: str, *stages: str) -> None:
    """Raise MovedError when the ledger is at one of these stages of a move (none: at any)."""
    with suppress(apsw.SQLError):  # a ledger that is not being moved has no such table
        mark = one(db, fragments("move_stages")["mark"])
        if mark is not None and (not stages or mark[2] in stages):
            raise moved(f"sqlite:///{path}", mark[1], mark[2])


def explained(error: Exception, db: apsw.Connection, path: str) -> OutlastError:
    """Turn a driver's error into ours; what a move refuses or took away is told as such."""
    if isinstance(error, apsw.ConstraintError | apsw.SQLError):
        try:
            refuse_if_moved(db, path)
        except OutlastError as told:
            return told
    return translated(error, path)


def translated(error: Exception, path: str) -> OutlastError:
    """Turn a driver's error into ours; drivers' errors never leave the ledger."""
    match error:
        case OutlastError():
            return error
        case apsw.BusyError() | apsw.LockedError():
            return UnavailableError(
                f"the ledger {path} is busy: no write lock within {BUSY_DEADLINE_S:g} s",
                hint="look for a process that holds a transaction open on it",
            )
        case apsw.FullError():
            return disk_full(path)
        case apsw.IOError():
            return UnavailableError(
                f"the disk of the ledger {path} failed: {error}; what was being written may be "
                "stored or not",
                hint="ask again with the same idempotency key, and look at the system's log",
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return CorruptError(
                f"the ledger {path} is damaged or no SQLite file: {error}",
                hint="restore a backup, or give another --ledger",
            )
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return UnavailableError(
                f"can't open the ledger {path} for writing: {error}",
                hint="check the folder's permissions",
            )
        case _:
            return UnavailableError(f"the ledger {path} failed: {type(error).__name__}: {error}")
