"""The façade for plain code (Django, Flask, scripts): a few verbs over a background loop."""

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from threading import Lock, Thread
from typing import Any, Protocol, Self, TypeVar

from outlast.core.errors import InvalidInputError, OutlastError
from outlast.core.job import Event
from outlast.sdk.app import Outlast
from outlast.sdk.client import Client, RemoteHandle
from outlast.sdk.handle import Handle, JobStatus
from outlast.sdk.task_handle import TaskHandle, parts, sole_of

T = TypeVar("T")


class _Opened(Protocol):
    async def close(self) -> None: ...


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="outlast-sync", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def stop(self) -> None:
        self.wait(self._loop.shutdown_asyncgens())
        self.wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Background:
    """Opens on a loop in the background with the first use, and lasts as long as the process.

    A fork has no threads of its parent's: it begins anew, and leaves alone what it inherited.
    """

    def __init__(self) -> None:
        self._loops: dict[int, _Loop] = {}  # by process; those of other processes are only kept
        self._locks: dict[int, Lock] = {}

    def __enter__(self) -> Self:
        self._ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    async def _open(self) -> _Opened:
        raise NotImplementedError

    def _ready(self) -> _Loop:
        here = os.getpid()
        with self._locks.setdefault(here, Lock()):
            if here not in self._loops:
                loop = _Loop()
                try:
                    self._inner = loop.wait(self._open())
                except BaseException:
                    loop.stop()
                    raise
                self._loops[here] = loop
            return self._loops[here]

    def _end(self) -> None:
        loop = self._loops.pop(os.getpid(), None)
        if loop is None:
            return
        try:
            loop.wait(self._inner.close())
        finally:
            loop.stop()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop and return its result.

        What interrupts the wait (Ctrl-C) cancels the coroutine, too.
        """
        try:
            loop = self._ready()
        except BaseException:
            work.close()
            raise
        return loop.wait(work)


class SyncOutlast(_Background):
    """An app for code without an event loop.

    It opens with its first use and needs no end; as a context manager it closes with its block.
    Any thread may use it, and a fork gets connections of its own.

    >>> from tempfile import mkdtemp
    >>> app = Outlast(ledger=f"sqlite:///{mkdtemp()}/outlast.db")
    >>> @app.task
    ... async def add(a: int, b: int) -> int:
    ...     return a + b
    >>> with SyncOutlast(app) as jobs:
    ...     jobs.submit(add, a=1, b=2).status().status.value
    'pending'
    """

    def __init__(self, app: Outlast) -> None:
        super().__init__()
        self._app = app

    async def _open(self) -> _Opened:
        return await self._app.open()

    def submit(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> "SyncHandle":
        """Store a job durably and return a handle on it; see `TaskHandle.submit`."""
        if task.connection is None:
            return SyncHandle(self, self.wait(task.submit(*args, **kwargs)))
        called = task.task.bind(*args, **kwargs) if args else kwargs
        return SyncHandle(self, sole_of(self._submit(task, [called], atomic=False)))

    def submit_batch(
        self,
        task: TaskHandle[Any, Any],
        calls: Iterable[Mapping[str, Any]],
        *,
        atomic: bool = False,
    ) -> list["SyncHandle | OutlastError"]:
        """Submit a job for each of these arguments; see `TaskHandle.submit_batch`."""
        made = self._submit(task, calls, atomic=atomic)
        return [one if isinstance(one, OutlastError) else SyncHandle(self, one) for one in made]

    def _submit(
        self, task: TaskHandle[Any, Any], calls: Iterable[Mapping[str, Any]], *, atomic: bool
    ) -> list[Handle | OutlastError]:
        """Let what belongs to the app run on its loop, and the insert where the connection is."""
        theirs = task.connection
        if theirs is not None and theirs.is_async:
            raise InvalidInputError(
                "within: expected a connection that blocks, got one that belongs to an event loop",
                hint="there, use `await task.within(connection).submit(…)`",
            )
        made: list[Handle | OutlastError] = []
        for part in parts(self.wait(task.jobs(calls)), atomic=atomic):
            rest = self.wait(task.storing(part, atomic=atomic))
            made += self.wait(rest) if theirs is None else _run_here(rest)
        return made

    def handle(self, job_id: str) -> "SyncHandle":
        """Return a handle on a job submitted earlier."""
        return SyncHandle(self, self._app.handle(job_id))


class SyncClient(_Background):
    """A `Client` for code without an event loop; opened and closed as `SyncOutlast` is.

    It takes what `Client` takes and raises what that raises::

        with SyncClient("http://127.0.0.1:8000", key=secret) as client:
            print(client.run("monthly_report", {"user_id": 1, "month": "2026-11"}))
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self._url = url
        self._options = options

    async def _open(self) -> _Opened:
        self._client = Client(self._url, **self._options)
        return self._client

    def submit(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Any
    ) -> "SyncHandle":
        """Submit a job durably; see `Client.submit`."""
        return SyncHandle(self, self.wait(self._client.submit(task, args, **options)))

    def run(self, task: str, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Submit a job and return its result; see `Client.run`."""
        return self.wait(self._client.run(task, args, **options))

    def submit_batch(
        self, jobs: Iterable[Mapping[str, Any]], *, atomic: bool = False
    ) -> list["SyncHandle | OutlastError"]:
        """Submit many jobs; see `Client.submit_batch`."""
        made = self.wait(self._client.submit_batch(jobs, atomic=atomic))
        return [one if isinstance(one, OutlastError) else SyncHandle(self, one) for one in made]

    def handle(self, job_id: str) -> "SyncHandle":
        """Return a handle on a job submitted earlier."""
        return SyncHandle(self, self._client.handle(job_id))

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Make any other call of the API; see `Client.call`."""
        return self.wait(self._client.call(method, path, **request))


class SyncHandle:
    """A submitted job, for code without an event loop."""

    def __init__(self, jobs: _Background, handle: Handle | RemoteHandle) -> None:
        self._jobs = jobs
        self._handle = handle
        self.id = handle.id
        self.duplicate = handle.duplicate

    def __repr__(self) -> str:
        return f"<SyncHandle {self.id}>"

    def status(self) -> JobStatus:
        """Return how the job stands now."""
        return self._jobs.wait(self._handle.status())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result; see `Handle.result`."""
        return self._jobs.wait(self._handle.result(timeout))

    def events(self, after: int = 0) -> Iterator[Event]:
        """Follow the job's history from a sequence number to its end, live."""
        source: AsyncIterator[Event] = self._handle.events(after)
        try:
            while (event := self._jobs.wait(_next(source))) is not None:
                yield event
        finally:
            if isinstance(source, AsyncGenerator):
                self._jobs.wait(_closed(source))

    def cancel(self, timeout: float | None = None) -> str:
        """Ask the job to stop; see `Handle.cancel`."""
        return self._jobs.wait(self._handle.cancel(timeout=timeout))

    def retry(self, args: Mapping[str, Any] | None = None) -> None:
        """Run a failed or cancelled job again; see `Handle.retry`."""
        self._jobs.wait(self._handle.retry(args))

    def change(self, /, **changes: Any) -> None:
        """Change a job that has not started; see `Handle.change`."""
        self._jobs.wait(self._handle.change(**changes))


def _run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run, on this thread, a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        work.close()
    raise RuntimeError("a connection that blocks has waited for an event loop")


async def _next(source: AsyncIterator[T]) -> T | None:
    following: Awaitable[T | None] = anext(source, None)
    return await following


async def _closed(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()
