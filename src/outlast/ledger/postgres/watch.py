"""Death hints between machines: a supervisor that dies lets go of its lock on the server."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg

from outlast.core.errors import OutlastError
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.connection import Session, close, connect

KIND: Final = "supervisor"
LOOK_S: Final = 0.4
# A living supervisor whose session was ended takes its lock again within a look.
LOOKS: Final = 3
# After a restart of the server nobody has a lock, so that says nothing: leases have the word.
LOOKS_AFTER_RESTART: Final = 100

_GONE: Final = (OutlastError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class SessionWatch:
    """Holds this supervisor's lock in a session of its own, and looks at those of the others.

    `bury` is told the holders of a dead one. A wrong hint is harmless: fencing.
    """

    def __init__(
        self, address: Address, name: str, bury: Callable[[Sequence[str]], Awaitable[object]]
    ) -> None:
        self._address = address
        self._name = name
        self._bury = bury
        self._holders: list[str] = []
        self._told: list[str] | None = None
        self._free: Counter[str] = Counter()  # in how many looks running a lock was free

    def list_holders(self, holders: list[str]) -> None:
        """Note whose leases die with this process."""
        self._holders = list(holders)

    async def run(self) -> None:
        """Hold and look, for ever; behind a pooler there is no session, and nothing to look at."""
        while True:
            with contextlib.suppress(*_GONE):
                session = await connect(self._address, direct=True)
                try:
                    if session.is_pooled:
                        return
                    await self._hold(session)
                finally:
                    self._free.clear()
                    await close(session)
            await asyncio.sleep(LOOK_S / 4)

    async def _hold(self, session: Session) -> None:
        await session.rows("watch_hold", name=self._name)
        self._told = None
        while True:
            if self._told != self._holders:
                told = list(self._holders)
                await session.rows("watch_tell", name=self._name, holders=json.dumps(told))
                self._told = told
            await self.look(session)
            await asyncio.sleep(LOOK_S)

    async def look(self, session: Session) -> None:
        """Give up whose lock was free in several looks running."""
        found = await session.rows("watch_look", name=self._name)
        free = {name: (holders, is_current) for name, holders, is_current in found}
        self._free = Counter({name: self._free[name] + 1 for name in free})
        for name, (holders, is_current) in free.items():
            if self._free[name] >= (LOOKS if is_current else LOOKS_AFTER_RESTART):
                await self._bury(json.loads(holders))
                await session.rows("watch_forget", name=name)

    async def let_go(self) -> None:
        """Leave in good order."""
        with contextlib.suppress(*_GONE):
            session = await connect(self._address)
            try:
                await session.rows("watch_forget", name=self._name)
            finally:
                await close(session)
