"""A thread for each blocking call of user code.

A shared pool would deadlock: jobs that fill it wait for their own steps, which wait for the pool.
The worker's concurrency bounds how many there are.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class JobThread(Thread):
    """Runs one call of user code; an abandoned one does not hold up the exit."""

    def __init__(self, call: Callable[[], None], name: str) -> None:
        super().__init__(target=call, name=f"outlast-{name}", daemon=True)


async def in_thread(
    stopping: Callable[[], bool], fn: Callable[..., T], /, *args: Any, **kwargs: Any
) -> T:
    """Call a plain function in a thread of its own.

    A thread can't be interrupted. When the job is to stop, the first cancellation waits for the
    thread to see that and end, and the second one leaves it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    call = partial(copy_context().run, fn, *args, **kwargs)

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return  # whoever waited was cancelled meanwhile
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits
            # A future can't carry these: they would end or close the coroutine that awaits it.
            ends = isinstance(raised, StopIteration | GeneratorExit)
            error = RuntimeError(f"the call raised {raised!r}") if ends else raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    JobThread(work, getattr(fn, "__name__", "call")).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if future.done() or not stopping():
            raise
        return await future
