"""Wake-ups between all who share a database: NOTIFY, sent beside the transactions and not in them.

A transaction that notifies holds a lock of the whole server while it commits, so none that matters
does. What is rung while a notification is on its way goes with the next one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import asyncpg

from outlast.core.errors import OutlastError
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.connection import Session, close, connect
from outlast.ledger.postgres.statements import sql

CHANNEL: Final = "outlast"
APART_S: Final = 0.005  # between two notifications, so that a busy fleet is not kept awake by them
PING_S: Final = 10.0  # a connection that is half open says nothing
PING_TIMEOUT_S: Final = 5.0
AWAY_S: Final = (0.1, 0.5, 1.0)
LAST_S: Final = 2.0

Send = Callable[[Callable[[Session], Awaitable[None]]], Awaitable[None]]


class NotifyBell:
    """Rings across machines. A lost ring costs a sweep: whoever waits also looks by himself."""

    def __init__(self, address: Address, name: str, send: Send) -> None:
        self._address = address
        self._name = name
        self._send = send
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ear: asyncio.Task[None] | None = None
        self._mouth: asyncio.Task[None] | None = None
        self._has_news = False
        self._later: asyncio.TimerHandle | None = None
        self._rings = 0
        self._next = asyncio.Event()
        # Each task that waits has heard its own last ring: one must not swallow another's.
        self._heard: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    def ring(self) -> None:
        """Wake every listener of this ledger, in this process and on all machines."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._wake()
        self._has_news = True
        if self._mouth is None or self._mouth.done():
            self._mouth = asyncio.ensure_future(self._speak())

    def ring_later(self) -> None:
        """Ring when nothing else has rung in a moment: nobody waits for this news alone."""
        loop = asyncio.get_running_loop()
        if self._later is None or self._later.when() < loop.time():
            self._later = loop.call_later(APART_S, self.ring)

    def _wake(self) -> None:
        self._rings += 1
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    async def _speak(self) -> None:
        while self._has_news:
            self._has_news = False
            with contextlib.suppress(OutlastError):
                await self._send(self._notify)
            await asyncio.sleep(APART_S)

    async def _notify(self, db: Session) -> None:
        await db.rows("notify", channel=CHANNEL, name=self._name)

    async def wait(self, timeout: float) -> None:
        """Return when the bell rang since this task's last wait, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._ear = asyncio.ensure_future(self._listen())
            self._rings += 1  # what was rung before anybody listened
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if self._heard.get(task) == self._rings:
            try:
                async with asyncio.timeout(timeout):
                    await self._next.wait()
            except TimeoutError:
                return
        self._heard[task] = self._rings

    async def _listen(self) -> None:
        """Keep a connection that listens; a pooler has none, and then a sweep must do."""
        away = 0
        while True:
            try:
                session = await connect(self._address, direct=True)
            except OutlastError:
                await asyncio.sleep(AWAY_S[min(away, len(AWAY_S) - 1)])
                away += 1
                continue
            away = 0
            try:
                if session.is_pooled:
                    return
                with contextlib.suppress(
                    OutlastError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError
                ):
                    await self._hear(session)
            finally:
                await close(session)

    async def _hear(self, session: Session) -> None:
        connection, ended = session.connection, asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(CHANNEL, self._on_notify)
        self._wake()  # what was rung while nobody listened
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    await ended.wait()
                    return
            async with asyncio.timeout(PING_TIMEOUT_S):
                await connection.execute(sql("ping"))

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload != self._name:
            self._wake()

    def close(self) -> None:
        """Stop listening."""
        if self._ear is not None and self._loop is not None and not self._loop.is_closed():
            self._ear.cancel()
        self._ear = self._loop = None

    async def end(self, within_s: float = LAST_S) -> None:
        """Say what is still to be said, if there is time, and stop listening."""
        if self._later is not None:
            self.ring()
        if self._mouth is not None and self._mouth.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._mouth], timeout=max(0.0, min(within_s, LAST_S)))
            self._mouth.cancel()
            await asyncio.gather(self._mouth, return_exceptions=True)
        ear = self._ear
        self.close()
        if ear is not None and ear.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(ear, return_exceptions=True)
