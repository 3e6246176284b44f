"""The façade for plain code (Django, Flask, scripts): four verbs over a background loop."""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Self, TypeVar

from outlast.sdk.app import Outlast, TaskHandle
from outlast.sdk.handle import Handle, JobStatus

T = TypeVar("T")


class SyncOutlast:
    """An app for code without an event loop; use it as a context manager.

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
        self._app = app

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="outlast-sync", daemon=True)
        self._thread.start()
        try:
            self.wait(self._app.open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait(self._app.close())
        finally:
            self._stop()

    def _stop(self) -> None:
        self.wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> "SyncHandle":
        """Store a job durably and return a handle on it."""
        return SyncHandle(self, self.wait(task.submit(*args, **kwargs)))

    def handle(self, job_id: str) -> "SyncHandle":
        """Return a handle on a job submitted earlier."""
        return SyncHandle(self, self._app.handle(job_id))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class SyncHandle:
    """A submitted job, for code without an event loop."""

    def __init__(self, jobs: SyncOutlast, handle: Handle) -> None:
        self._jobs = jobs
        self._handle = handle
        self.id = handle.id

    def status(self) -> JobStatus:
        """Return how the job stands now."""
        return self._jobs.wait(self._handle.status())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result; see `Handle.result`."""
        return self._jobs.wait(self._handle.result(timeout))

    def cancel(self, timeout: float | None = None) -> str:
        """Ask the job to stop; see `Handle.cancel`."""
        return self._jobs.wait(self._handle.cancel(timeout=timeout))
