"""Group commit: what arrives while others commit shares the next transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from outlast.core.errors import UnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
ITEMS_MAX: Final = 1_000  # in one transaction


class Batches(Generic[Item, Answer]):
    """Gathers calls of one kind, and lets as many transactions as `width` go on at once.

    A call is a sequence of items, and gets an answer for each. When a transaction fails, each of
    its calls is tried alone, so that no neighbour is harmed by a bad one.
    """

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[Sequence[Answer]]], *, width: int
    ) -> None:
        self._run = run
        self._width = width
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[Any]]] = []
        self._going = 0
        self._is_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, items: Sequence[Item]) -> "asyncio.Future[list[Answer]]":
        """Let the items be committed with those of others; the future has their answers."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiting.append((items, future))
        if not self._is_due and self._going < self._width:
            # After what is ready to run now, so that all of it goes together.
            self._is_due = True
            loop.call_soon(self._start)
        return future

    async def finish(self) -> None:
        """Return when all that was accepted is answered; whoever stops waiting stops nothing."""
        while self._tasks or self._waiting:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(0)

    def _start(self) -> None:
        self._is_due = False
        while self._waiting and self._going < self._width:
            calls: list[tuple[Sequence[Item], asyncio.Future[Any]]] = []
            size = 0
            while self._waiting and (not calls or size + len(self._waiting[0][0]) <= ITEMS_MAX):
                calls.append(self._waiting.pop(0))
                size += len(calls[-1][0])
            self._going += 1
            task = asyncio.ensure_future(self._serve(calls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, calls: list[tuple[Sequence[Item], asyncio.Future[Any]]]) -> None:
        try:
            await self._commit(calls)
        finally:
            self._going -= 1
            self._start()

    async def _commit(self, calls: list[tuple[Sequence[Item], asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._run([item for items, _ in calls for item in items])
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
            if len(calls) > 1 and not isinstance(error, UnavailableError):
                for call in calls:
                    await self._commit([call])
                return
            for _, future in calls:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for items, future in calls:
            if not future.done():
                future.set_result(list(answers[start : start + len(items)]))
            start += len(items)
