"""Opens connections with the only settings under which the ledger's promises hold."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import asyncpg

from outlast.core.errors import CorruptError, UnavailableError
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.refusal import translated
from outlast.ledger.postgres.statements import numbered, sql
from outlast.ledger.rows import Row

CONNECT_S: Final = 5.0
CONNECT_OF_SEVERAL_S: Final = 2.0  # one that is silent must not keep us from the next
GOODBYE_S: Final = 1.0  # a server that is there needs a moment, and any other is not waited for
COMMAND_S: Final = 40.0  # the driver's own bound, for a server that says nothing any more
BEAT_S: Final = 5.0  # the same for a heartbeat: the next one, on a new connection, is still in time
STATEMENT_MS: Final = 30_000
LOCK_MS: Final = 5_000
IDLE_MS: Final = 30_000
STATEMENTS_KEPT: Final = 256  # prepared ones, of a connection
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"  # what was waited for is seen
_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Session:
    """A connection that runs statements by their names, with named values."""

    __slots__ = ("connection", "is_pooled")
    can_copy = True

    def __init__(self, connection: asyncpg.Connection, *, is_pooled: bool) -> None:
        self.connection = connection
        self.is_pooled = is_pooled  # another may get the server's session between transactions

    async def rows(self, name: str, /, **values: Any) -> Sequence[Row]:
        """Run a statement and return its rows."""
        return await self.rows_of(sql(name), values)

    async def rows_of(self, statement: str, values: dict[str, Any]) -> Sequence[Row]:
        """Run a statement that was put together."""
        text, names = numbered(statement)
        found: Any = await self.connection.fetch(text, *(values[name] for name in names))
        return found  # type: ignore[no-any-return]

    async def sole(self, name: str, /, **values: Any) -> Row:
        """Return the row that such a statement always has."""
        found = await self.rows(name, **values)
        if not found:
            raise CorruptError("the ledger gave no row where there always is one")
        return found[0]

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Append rows to a table of the ledger's."""
        await self.connection.copy_records_to_table(
            table, schema_name="outlast", columns=columns, records=rows
        )

    async def script(self, text: str) -> None:
        """Run statements that take no values and answer nothing."""
        await self.connection.execute(text)

    @contextlib.asynccontextmanager
    async def transaction(self, begin: str = BEGIN) -> AsyncIterator[None]:
        """Commit what is done inside; whoever has the connection ends a transaction that failed."""
        if self.connection.is_in_transaction():
            yield
            return
        await self.connection.execute(begin)
        yield
        await self.connection.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        """Give a way to undo what was done inside, without harming the rest of the transaction."""
        await self.connection.execute("SAVEPOINT part")
        yield partial(self.connection.execute, "ROLLBACK TO part")
        await self.connection.execute("RELEASE part")

    @property
    def is_clean(self) -> bool:
        """Whether it can be used again by others."""
        return not (self.connection.is_closed() or self.connection.is_in_transaction())


async def connect(
    address: Address, *, direct: bool = False, answer_s: float = COMMAND_S
) -> Session:
    """Open a connection; raise with one clear sentence when that fails.

    A pooler in between, which is known by a process that is not the server's, gets neither prepared
    statements nor settings of a session: it would hand them to others.
    """
    dsns = address.direct if direct and address.direct else address.dsns
    errors: list[Exception] = []
    for dsn in dsns:
        try:
            return await _own_or_pooled(dsn, answer_s, is_sole=len(dsns) == 1)
        except Exception as error:  # noqa: BLE001 - the most telling one is raised
            errors.append(error)
    worst = min(errors, key=_rank)
    raise translated(worst, address.place) from worst


def _rank(error: Exception) -> int:
    """Put first what is wrong for good, then what may get well, then who is not there at all."""
    if isinstance(error, asyncpg.CannotConnectNowError | asyncpg.TargetServerAttributeNotMatched):
        return 1
    if isinstance(error, OSError | asyncpg.PostgresConnectionError):
        return 2
    return 0


async def _own_or_pooled(dsn: str, answer_s: float, *, is_sole: bool) -> Session:
    for cache in (STATEMENTS_KEPT, 0):
        session = await _session(dsn, cache, min(answer_s, COMMAND_S), is_sole=is_sole)
        if session is not None:
            return session
    raise UnavailableError("the ledger gave no connection")


async def _session(dsn: str, cache: int, answer_s: float, *, is_sole: bool) -> Session | None:
    """Open a connection; None when one that keeps statements turns out to be a pooler's."""
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_S if is_sole else CONNECT_OF_SEVERAL_S,
        command_timeout=answer_s,
        statement_cache_size=cache,
        # A sole server that takes no writes can at least be read, and be told of by the doctor.
        target_session_attrs="any" if is_sole else "read-write",
    )
    try:
        pid = str(connection.get_server_pid())
        found = await connection.execute(sql("is_own").replace(":pid", pid))
        is_pooled = not found.endswith(" 1")
        if is_pooled and cache:
            connection.terminate()
            return None
        session = Session(connection, is_pooled=is_pooled)
        if not is_pooled:
            await session.rows(
                "settings", statement=str(STATEMENT_MS), lock=str(LOCK_MS), idle=str(IDLE_MS)
            )
    except BaseException:
        connection.terminate()
        raise
    return session


async def roll_back(session: Session) -> None:
    """Undo the transaction, if one is open."""
    if session.connection.is_in_transaction():
        await session.connection.execute("ROLLBACK")


async def close(session: Session) -> None:
    """Let go of a connection, however it is."""
    try:
        await session.connection.close(timeout=GOODBYE_S)
    except Exception:  # noqa: BLE001 - it was to be gone, and it is
        session.connection.terminate()


def is_worth_another_try(error: BaseException) -> bool:
    """Whether the transaction left nothing, and only had bad luck with its neighbours."""
    return isinstance(error, _AGAIN)


def is_starting(error: BaseException) -> bool:
    """Whether nobody answers there yet, or again, or nobody is the primary yet."""
    return isinstance(
        error,
        ConnectionRefusedError
        | asyncpg.CannotConnectNowError
        | asyncpg.TargetServerAttributeNotMatched,
    )
