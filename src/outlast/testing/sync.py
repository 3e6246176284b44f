"""The same test bench for tests without an event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from outlast.core.instant import Duration
from outlast.sdk.handle import Handle
from outlast.sdk.task_handle import TaskHandle
from outlast.testing.bench import Testing
from outlast.testing.records import AnyJob

T = TypeVar("T")


class SyncTesting:
    """What `with testing(app) as t` gives: `Testing`, with methods that return when done."""

    def __init__(self, inner: Testing) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        self._loop = asyncio.SelectorEventLoop()
        self._inner.open()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        __tracebackhide__ = True
        try:
            self._wait(self._inner.end())
            self._wait(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
            self._inner.close()
        if kind is None:
            self._inner.check()

    def submit(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> Handle:
        """Submit a job, as the code under test does."""
        return self._wait(task.submit(*args, **kwargs))

    def advance(self, by: Duration) -> dict[str, int]:
        """Let this much time pass; see `Testing.advance`."""
        return self._wait(self._inner.advance(by))

    def drain(self, within: Duration = 0) -> dict[str, int]:
        """Run all jobs that can run; see `Testing.drain`."""
        return self._wait(self._inner.drain(within))

    def deliver_again(self, job: AnyJob) -> None:
        """Offer a job once more; see `Testing.deliver_again`."""
        self._wait(self._inner.deliver_again(job))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)
