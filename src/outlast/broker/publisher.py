"""Hands tickets to brokers in the background: who makes a job runnable never waits for one."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Final

from outlast.broker import open_broker, shown
from outlast.broker.protocol import Broker, Ticket
from outlast.broker.routes import Routes

_WAITING_MAX: Final = 10_000  # tickets of one broker; the relay makes up for those beyond
_BATCH_MAX: Final = 500
_PUBLISH_S: Final = 5.0
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_FLUSH_S: Final = 1.0
_LOG: Final = logging.getLogger("outlast.broker")


class Publisher:
    """Takes tickets at any rate, and forgets those that a broker can't take: they are hints."""

    def __init__(self, routes: Routes, opener: Callable[[str], Broker] = open_broker) -> None:
        self._routes = routes
        self._outlets = {url: _Outlet(opener(url), shown(url)) for url in routes.urls}

    def carries(self, queue: str) -> bool:
        """Whether a queue has a broker at all."""
        return self._routes.of(queue) is not None

    def give(self, tickets: Iterable[Ticket]) -> None:
        """Take tickets; those of a queue without a broker are dropped. Never waits."""
        for ticket in tickets:
            url = self._routes.of(ticket.queue)
            if url is not None:
                self._outlets[url].put(ticket)

    @property
    def figures(self) -> Mapping[str, tuple[int, int, bool]]:
        """By broker, as it may be shown: tickets published and dropped, and whether it is up."""
        return {one.name: (one.published, one.dropped, one.is_up) for one in self._outlets.values()}

    async def flush(self, within_s: float) -> bool:
        """Wait until what was taken is handed over; return whether all of it was, in time."""
        outlets = self._outlets.values()
        before = sum(outlet.dropped for outlet in outlets)
        tasks = [outlet.task for outlet in outlets if outlet.task is not None]
        late = (await asyncio.wait(tasks, timeout=within_s))[1] if tasks else ()
        return not late and sum(outlet.dropped for outlet in outlets) == before

    async def close(self) -> None:
        """Hand over what is left, for a second at most, and let go of the brokers."""
        await asyncio.gather(*(outlet.close() for outlet in self._outlets.values()))


class _Outlet:
    """One broker's tickets that wait to be published."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.published = 0
        self.dropped = 0
        self.is_up = True
        self._broker = broker
        self._waiting: deque[Ticket] = deque()
        self.task: asyncio.Task[None] | None = None
        self._pause_s = _PAUSE_MIN_S
        # What is told of the broker is nothing for the log of the job that happens to submit.
        self._context = copy_context()

    def put(self, ticket: Ticket) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append(ticket)
        if self.task is None or self.task.done():
            loop = asyncio.get_running_loop()
            self.task = loop.create_task(self._publish_all(), context=self._context.copy())

    async def _publish_all(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), _BATCH_MAX)
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    await self._broker.publish(batch)
            except Exception as error:  # noqa: BLE001 - a broker's fault must stay its own
                self.dropped += size
                await self._be_away(error)
            else:
                self.published += size
                self._be_back()

    async def _be_away(self, error: Exception) -> None:
        if self.is_up:
            why = str(error).removeprefix(f"broker {self.name}: ")
            why = why or f"no answer within {_PUBLISH_S:g} s"
            _LOG.warning("broker %s is away (%s): workers find jobs by their sweep", self.name, why)
        self.is_up = False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)

    def _be_back(self) -> None:
        if not self.is_up:
            _LOG.warning("broker %s is back", self.name)
        self.is_up, self._pause_s = True, _PAUSE_MIN_S

    async def close(self) -> None:
        if self.task is not None:
            await asyncio.wait([self.task], timeout=_FLUSH_S if self.is_up else 0)
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        with suppress(Exception):
            async with asyncio.timeout(_FLUSH_S):
                await self._broker.close()
