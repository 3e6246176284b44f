"""How time passes in a user's test: really, and in leaps while the test lets its jobs run.

This adopts the event loop that the test has, whoever made it, for as long as the test uses it.
Apart from `sim.loop` it is the only file that uses private names of CPython.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

from outlast.core.errors import InvalidInputError
from outlast.core.limits import SECOND
from outlast.sdk.threads import JobThread
from outlast.system import CLOCK
from outlast.testing.sim.loop import NODE, Node, _Ready

_LOOK_S: Final = 0.005  # how often to look whether a thread has ended


class Passage:
    """The clock of a test, and the grip on its event loop."""

    def __init__(self, start_us: int | None, patience_us: int) -> None:
        began = CLOCK.elapsed_us()
        self._wall_us = (CLOCK.now_us() if start_us is None else start_us) - began
        self._ahead_us = 0  # of the real clock
        self._held_us: int | None = None  # what the time is while it moves only by leaps
        self._patience_us = patience_us
        self._loop: Any = None
        self._quiet: asyncio.Future[None] | None = None
        self._leap_us = 0
        self._calls: list[tuple[asyncio.Future[Any], Node | None]] = []
        self._forsaken: WeakSet[threading.Thread] = WeakSet()

    def now_us(self) -> int:
        """Return the wall clock."""
        return self._wall_us + self.elapsed_us()

    def elapsed_us(self) -> int:
        """Return the monotonic clock."""
        if self._held_us is not None:
            return self._held_us
        return CLOCK.elapsed_us() + self._ahead_us

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let time pass only by leaps, and by the work of threads; adopt the running loop."""
        self._adopt()
        self._held_us = self.elapsed_us()
        try:
            yield
        finally:
            self._ahead_us = self._held_us - CLOCK.elapsed_us()
            self._held_us = None

    # The loop ------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take the running loop over; refuse one of another make, and a second one."""
        loop: Any = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None:
            raise InvalidInputError(
                "testing: jobs were waited for on another event loop than the test's own",
                hint="call drain or advance first, then ask for the result",
            )
        make: type = type(loop)
        if make is not asyncio.SelectorEventLoop:
            raise InvalidInputError(
                f"testing: expected asyncio's own event loop, got {make.__qualname__}",
                hint="time can't be skipped on it; run this test without uvloop",
            )
        self._loop = loop
        self._lead_s: float = loop.time() - CLOCK.elapsed_us() / SECOND
        self._real_select: Callable[[float | None], Any] = loop._selector.select
        self._real_executor = loop.run_in_executor
        self._real_factory = loop.get_task_factory()
        self._own_sockets = 1  # the loop's own, by which threads wake it
        loop.time = self._time
        self._real_resolution, loop._clock_resolution = loop._clock_resolution, 1 / SECOND
        loop._selector.select = self._select
        loop.run_in_executor = self._in_executor
        loop.set_task_factory(self._make_task)
        ready = _Ready(None)
        ready.extend(loop._ready)
        loop._ready = ready

    def leave(self) -> None:
        """Give the loop back. Its time goes on from where it is, so that no timer is misread."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            lead_s = self._time() - CLOCK.elapsed_us() / SECOND
            loop.time = lambda: CLOCK.elapsed_us() / SECOND + lead_s
            del loop._selector.select, loop.run_in_executor
            loop.set_task_factory(self._real_factory)
            loop._clock_resolution = self._real_resolution
            loop._ready = deque(loop._ready)

    def _time(self) -> float:
        return self.elapsed_us() / SECOND + self._lead_s

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Future[Any]:
        make: Any = self._real_factory or _plain_task
        task: asyncio.Task[Any] = make(loop, work, **options)
        node = (options.get("context") or contextvars.copy_context()).get(NODE)
        if node is not None:
            node.tasks.append(task)
        return task

    def _in_executor(self, executor: Any, call: Any, *args: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._real_executor(executor, call, *args)
        self._calls.append((future, NODE.get()))
        return future

    # The passing of time -------------------------------------------------------------------------

    async def settle(self, leap_us: int = 0) -> None:
        """Skip this much time; then return when nothing can go on without more of it."""
        self._leap_us = max(0, leap_us)
        self._quiet = self._loop.create_future()
        self._be_patient()
        try:
            await self._quiet
        finally:
            self._quiet = None

    def _be_patient(self) -> None:
        """Begin to wait for sockets anew: something has just moved."""
        self._patient_until_us = CLOCK.elapsed_us() + self._patience_us

    def _select(self, timeout: float | None) -> Any:
        if self._leap_us and self._held_us is not None:
            self._held_us += self._leap_us
            self._leap_us = 0
            return self._real_select(0)
        if self._quiet is None or (timeout is not None and timeout <= 0):
            return self._real_select(timeout)
        if self._is_thread_at_work():
            return self._watch_threads(_LOOK_S if timeout is None else min(timeout, _LOOK_S))
        if self.has_sockets():
            left = (self._patient_until_us - CLOCK.elapsed_us()) / SECOND
            if left > 0:
                if events := self._real_select(left if timeout is None else min(timeout, left)):
                    self._be_patient()
                return events
        if not self._quiet.done():
            self._quiet.set_result(None)
        return []

    def has_sockets(self) -> bool:
        """Whether anything waits for a socket, or may: a connection at rest looks the same."""
        return len(self._loop._selector.get_map()) > self._own_sockets

    def until_timer_us(self) -> int | None:
        """Return how long it is until the loop's next timer, of those that can still fire."""
        dues = [
            handle._when
            for handle in self._loop._scheduled
            if not handle._cancelled
            and ((node := handle._context.get(NODE)) is None or node.state == "running")
        ]
        return max(0, round((min(dues) - self._loop.time()) * SECOND)) if dues else None

    # Threads -------------------------------------------------------------------------------------

    def _is_thread_at_work(self) -> bool:
        self._calls = [(future, node) for future, node in self._calls if not future.done()]
        if any(node is None or node.state == "running" for _, node in self._calls):
            return True
        return any(thread not in self._forsaken for thread in _job_threads())

    def _watch_threads(self, timeout: float) -> Any:
        began = CLOCK.elapsed_us()
        events = self._real_select(timeout)
        if self._held_us is not None:
            self._held_us += CLOCK.elapsed_us() - began
        return events

    def forsake_threads(self) -> None:
        """Wait no more for the threads of a worker that has stopped: they wait for it."""
        self._forsaken.update(_job_threads())

    def recall_threads(self) -> None:
        """Wait for them again."""
        self._forsaken.clear()


def _plain_task(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)


def _job_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, JobThread)]
