"""Holds workers still whose leases may be over, because the ledger can't be heard."""

import asyncio
import signal
from collections.abc import Callable, Collection
from typing import Final

from outlast.core.limits import SECOND

# Sends a signal to workers, and to all that they started, by their identities.
Halt = Callable[[Collection[str], signal.Signals], None]
_PART: Final = 6  # of a lease is left when they stop
_AGAIN_S: Final = 1.0  # what is started while a tree is stopped may escape the first look


class Fence:
    """Stops workers before others may take their jobs, and lets them go on once that is not so.

    Who is cut off alone would work on what runs elsewhere by then; and when the ledger is away for
    all, nobody loses what was done.
    """

    def __init__(self, halt: Halt, lease_us: int) -> None:
        self._halt = halt
        self._valid_s = (lease_us - lease_us // _PART) / SECOND
        self._until = asyncio.get_running_loop().time() + self._valid_s
        self._is_closed = False

    async def run(self, working: Callable[[], Collection[str]]) -> None:
        """Stop whoever works whenever nothing was renewed for too long."""
        loop = asyncio.get_running_loop()
        while True:
            left = self._until - loop.time()
            if left > 0:
                await asyncio.sleep(left)
                continue
            self._is_closed = True
            self._halt(working(), signal.SIGSTOP)
            await asyncio.sleep(_AGAIN_S)

    def renewed(self, asked_at: float, holders: Collection[str]) -> None:
        """Take note that these leases were renewed by a call that began then."""
        self._until = asked_at + self._valid_s
        # An answer that comes this late says nothing of now; the next one does.
        if self._is_closed and self._until > asyncio.get_running_loop().time():
            self._is_closed = False
            self._halt(holders, signal.SIGCONT)
