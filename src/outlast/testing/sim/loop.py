"""An event loop on virtual time: hours pass in no time, and a seed owns every interleaving.

The private names of CPython that this needs are used in this file only.
"""

import asyncio
import contextlib
import contextvars
import itertools
import math
import random
import selectors
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Literal, Self, cast

from outlast.core.limits import SECOND

START_US: Final = 1_800_000_000_000_000  # the wall clock when a virtual loop starts
_REAL_WAIT_S: Final = 0.02  # how long virtual time waits for threads and sockets before it moves
_CLOSE_MAX: Final = 10  # how often a coroutine may await something while it is being closed


class DeadlockError(RuntimeError):
    """Every task waits, and nothing is due that could wake one."""


class Node:
    """A machine in the simulation: what runs in its context is paused, or gone, with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Literal["running", "paused", "dead"] = "running"
        self.tasks: list[asyncio.Task[Any]] = []
        self.parked: list[asyncio.Handle] = []
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._context.run(NODE.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine on this machine."""
        return self._loop.create_task(work, context=self._context.copy())

    def signal(self, call: Callable[[], object]) -> None:
        """Call something on this machine as soon as it runs, as a signal handler is called."""
        self._loop.call_soon(call, context=self._context)

    def pause(self) -> None:
        """Freeze everything on it, as SIGSTOP does; time goes on."""
        if self.state == "running":
            self.state = "paused"

    def resume(self) -> None:
        """Let it go on where it was."""
        if self.state == "paused":
            self.state = "running"
            parked, self.parked = self.parked, []
            for handle in parked:
                self._loop._ready.append(handle)  # type: ignore[attr-defined]

    def kill(self) -> None:
        """End everything on it without any cleanup, as SIGKILL does."""
        self.state = "dead"


NODE: contextvars.ContextVar[Node | None] = contextvars.ContextVar("node", default=None)


class _Ready(deque[asyncio.Handle]):
    """What may run next: drawn by lot, and only from machines that run."""

    def __init__(self, rng: random.Random | None) -> None:
        super().__init__()
        self._rng = rng

    def append(self, handle: asyncio.Handle, /) -> None:
        node = handle._context.get(NODE)  # type: ignore[attr-defined]
        if node is None or node.state == "running":
            super().append(handle)
        else:
            node.parked.append(handle)

    def popleft(self) -> asyncio.Handle:
        if self._rng is not None and len(self) > 1:
            self.rotate(-int(self._rng.random() * len(self)))
        handle = super().popleft()
        node = handle._context.get(NODE)  # type: ignore[attr-defined]
        if node is None or node.state == "running":
            return handle
        node.parked.append(handle)  # its machine stopped after this had become ready
        return _NOTHING


class _Nothing:
    _cancelled = True


_NOTHING = cast("asyncio.Handle", _Nothing())


class _Numbered:
    """Has its place in a set by a number, where an address would differ from run to run."""

    _number: int

    def __new__(cls, *_args: Any, loop: "VirtualLoop", **_kwargs: Any) -> Self:
        made = super().__new__(cls)
        made._number = next(loop.numbers)
        return made

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _SimTask(_Numbered, asyncio.Task[Any]):
    node: Node | None = None


class _SimFuture(_Numbered, asyncio.Future[Any]):
    pass


class _VirtualSelector(selectors.DefaultSelector):
    """Asks the loop what to do with the time until the next timer."""

    pass_time: Callable[[float | None, Callable[[float | None], Any]], Any]

    def select(self, timeout: float | None = None) -> Any:
        return self.pass_time(timeout, super().select)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time moves when nothing else can.

    With `rng`, whatever is ready runs in an order drawn from it, and threads are refused: the run
    is a function of the seed. Without, threads and sockets work, and time waits for them a little.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._now_us = 0
        self._threads = 0
        self.numbers = itertools.count(1)  # its own, so that a second run in a process is alike
        selector = _VirtualSelector()
        selector.pass_time = self._pass_time
        super().__init__(selector)
        self._own_sockets = len(selector.get_map())
        self._seeded = rng is not None
        self._ready = _Ready(rng)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._now_us / SECOND

    @property
    def now_us(self) -> int:
        """The microseconds since the loop was made."""
        return self._now_us

    def create_future(self) -> asyncio.Future[Any]:
        return _SimFuture(loop=self)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        if self._seeded:
            raise RuntimeError("threads are not simulated")
        self._threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    @property
    def held(self) -> list[str]:
        """What still goes on, this task and dead machines apart: tasks and timers."""

        def lives(node: Node | None) -> bool:
            return node is None or node.state != "dead"

        here = asyncio.current_task(self)
        tasks = [t for t in asyncio.all_tasks(self) if t is not here]
        timers = [t for t in self._scheduled if not t._cancelled]  # type: ignore[attr-defined]
        return sorted(
            [repr(t.get_coro()) for t in tasks if lives(getattr(t, "node", None))]
            + [repr(t._callback) for t in timers if lives(t._context.get(NODE))]
        )

    def discard(self) -> None:
        """Let go of all that goes on, as a crash of everything would, and close the loop."""
        self.set_exception_handler(lambda _loop, _context: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a `finally` would start is not started any more
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(cast("Coroutine[Any, Any, Any]", task.get_coro()))
        self.close()

    def _thread_ended(self, _: object) -> None:
        self._threads -= 1

    def _pass_time(self, timeout: float | None, select: Callable[[float | None], Any]) -> Any:
        if self._seeded:
            events: Any = []
        else:
            sockets = len(self._selector.get_map()) - self._own_sockets  # type: ignore[attr-defined]
            really = _REAL_WAIT_S if self._threads or sockets else 0
            events = select(really if timeout is None else min(timeout, really))
            if events or (timeout is None and really):
                return events
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        self._now_us += math.ceil(timeout * SECOND)
        return events


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    for _ in range(_CLOSE_MAX):
        with contextlib.suppress(BaseException):  # it awaits, or fails, in its `finally`
            coroutine.close()
            return


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    task = _SimTask(coro, loop=cast("VirtualLoop", loop), context=context)
    node = (context or contextvars.copy_context()).get(NODE)
    if node is not None:
        task.node = node
        node.tasks.append(task)
    return task


class VirtualClock:
    """The clocks of a virtual loop; `skew_us` moves its wall clock and never the other."""

    def __init__(self, loop: VirtualLoop, skew_us: int = 0) -> None:
        self._loop = loop
        self.skew_us = skew_us

    def now_us(self) -> int:
        """Return the wall clock: microseconds since 1970, UTC."""
        return START_US + self._loop.now_us + self.skew_us

    def elapsed_us(self) -> int:
        """Return the monotonic clock in microseconds."""
        return self._loop.now_us


class SeededEntropy:
    """Dice from a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def bits(self, n: int) -> int:
        return self._rng.getrandbits(n)

    def fraction(self) -> float:
        return self._rng.random()

    def token(self, n: int) -> bytes:
        return self._rng.randbytes(n)


def children(rng: random.Random) -> Iterator[random.Random]:
    """Split a die: what one part of a run draws doesn't shift what the others draw."""
    while True:
        yield random.Random(rng.getrandbits(64))
