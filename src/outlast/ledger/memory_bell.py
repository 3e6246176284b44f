"""The bell of the reference ledger."""

import asyncio
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary


class MemoryBell:
    """Rings within one event loop; each task hears every ring, whoever else heard it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._rings = 0
        self._heard: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    def ring(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        self._rings += 1
        self._rung.set()

    async def wait(self, timeout: float) -> None:
        """Return when the bell rang since this task's last wait, or after `timeout` seconds."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if self._heard.get(task, 0) == self._rings:
            self._rung.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._rung.wait()
        self._heard[task] = self._rings

    def close(self) -> None:
        """Nothing to let go of."""
