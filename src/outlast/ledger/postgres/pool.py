"""The connections of a process: few, opened when needed, and one kept for heartbeats."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from outlast.core.errors import MovedError, OutlastError, UnavailableError
from outlast.core.limits import MILLISECOND, SECOND
from outlast.core.ports import Clock, Entropy
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.connection import (
    COMMAND_S,
    Session,
    close,
    connect,
    is_starting,
    is_worth_another_try,
    roll_back,
)
from outlast.ledger.postgres.refusal import UNKNOWN, translated
from outlast.ledger.postgres.schema import refuse_if_moved

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]
PATIENCE_US: Final = SECOND  # how long a server may be away before callers are told
FREE_S: Final = 10.0  # how long to wait for a connection that others use
CLOSE_S: Final = 5.0  # how long a close waits for answers that may never come
TRIES_MAX: Final = 8  # of a transaction that met another one in a circle
_PAUSE_S: Final = 0.02


class Pool:
    """Runs work on a connection of its own; belongs to one event loop."""

    def __init__(
        self,
        address: Address,
        size: int,
        clock: Clock,
        entropy: Entropy,
        *,
        answer_s: float = COMMAND_S,
    ) -> None:
        self._address = address
        self._answer_s = answer_s
        self._size = size
        self._clock = clock
        self._entropy = entropy
        self._idle: list[Session] = []
        self._room = asyncio.Semaphore(size)
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """Run the work; once begun it ends, whatever becomes of its caller."""
        if self._closed:
            raise UnavailableError("the ledger is closed")
        task = asyncio.ensure_future(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise UnavailableError(
                f"the ledger {self._address.place} was closed before it answered", hint=UNKNOWN
            ) from None

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone meanwhile: that is no fault to report

    async def close(self, within_s: float = CLOSE_S) -> None:
        """Finish what was begun, as long as there is time, and let go of the connections."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *map(close, self._idle), return_exceptions=True)
        self._idle.clear()

    async def _run(self, work: Work[T]) -> T:
        if self._room.locked():
            await self._wait_for_room()
        else:
            await self._room.acquire()  # at once
        try:
            return await self._tried(work)
        finally:
            self._room.release()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(FREE_S):
                await self._room.acquire()
        except TimeoutError:
            raise UnavailableError(
                f"all {self._size} connections to the ledger {self._address.place} are busy",
                hint="raise ?pool= in the URL, or look why the database is slow",
            ) from None

    async def _tried(self, work: Work[T]) -> T:
        for tries in range(TRIES_MAX):
            session = await self._open()
            try:
                if session.is_pooled:
                    async with session.transaction():
                        return await work(session)
                return await work(session)
            except Exception as error:
                if isinstance(error, TimeoutError | asyncpg.ReadOnlySQLTransactionError):
                    # Half open, maybe: who comes next would wait for it as long again. And who is
                    # no primary any more is not to be asked again.
                    session.connection.terminate()
                if not is_worth_another_try(error) or tries == TRIES_MAX - 1:
                    raise await self._told(session, error) from error
                await asyncio.sleep(_PAUSE_S * tries * self._entropy.fraction())
            finally:
                self._put_back(session)
        raise UnavailableError(f"the ledger {self._address.place} gave no answer")

    async def _told(self, session: Session, error: BaseException) -> OutlastError:
        """Say what a driver's error means; tables that are gone may be somewhere else."""
        if isinstance(error, asyncpg.UndefinedTableError):
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await roll_back(session)
                try:
                    await refuse_if_moved(session, self._address.place)
                except MovedError as told:
                    return told
        return translated(error, self._address.place)

    async def _open(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if session.is_clean:
                return session
        start = self._clock.elapsed_us()
        while True:
            try:
                return await connect(self._address, answer_s=self._answer_s)
            except UnavailableError as error:
                waited = self._clock.elapsed_us() - start
                if error.__cause__ is None or not is_starting(error.__cause__):
                    raise
                if waited > PATIENCE_US:
                    raise
                await asyncio.sleep(50 * MILLISECOND / SECOND)

    def _put_back(self, session: Session) -> None:
        if session.is_clean and not self._closed:
            self._idle.append(session)
        else:
            session.connection.terminate()
