"""The job as a plain function sees it, from its thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from outlast.core.effects import Source
from outlast.core.instant import Duration
from outlast.core.signals import HandBack
from outlast.sdk.artifact import Artifact
from outlast.sdk.context import Job
from outlast.sdk.resume import rest_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class SyncJob:
    """The same for a plain function, which runs in a thread: methods return when done."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._job = job
        self._loop = loop
        self.progress = job.progress
        self.track = job.track
        self.log = job.log
        self.check = job.check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)  # id, attempt, token, idempotency_key, draining

    def step(self, name: str, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function once in the job's life; see `Job.step`."""
        return cast("R", self._wait(self._job.step(name, fn, *args, **kwargs)))

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Protect a critical section; see `Job.shield`."""
        with self._job._shielded():  # noqa: SLF001 - two faces of one object
            yield

    def resume(
        self,
        items: Iterable[T],
        *,
        every: int = 100,
        name: str = "items",
        message: str | None = None,
        total: int | None = None,
    ) -> Iterator[T]:
        """Iterate so that a later attempt goes on after the items done; see `Job.resume`."""
        loop = self._job._loop(items, every, name, total)  # noqa: SLF001 - as above
        self._wait(loop.begin())
        for item in rest_of(items, loop.done):
            if self._job.draining:
                self._wait(loop.keep())
                raise HandBack
            self.check()
            yield item
            if loop.step():
                self._wait(loop.keep())
            self.progress(loop.done, loop.total, message)
        self._wait(loop.keep())

    def remember(self, name: str, value: Any) -> None:
        """Keep a small JSON value; see `Job.remember`."""
        self._wait(self._job.remember(name, value))

    def recall(self, name: str, default: Any = None) -> Any:
        """Return what was remembered; see `Job.recall`."""
        return self._wait(self._job.recall(name, default))

    def save(self, name: str, data: Source, *, ttl: Duration | None = None) -> Artifact:
        """Keep a file with the job; see `Job.save`."""
        return cast("Artifact", self._wait(self._job.save(name, data, ttl=ttl)))

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the chunks of a file that this job saved; see `Job.open`."""
        chunks = self._job.open(name)
        while (chunk := self._wait(_next(chunks))) is not None:
            yield chunk

    def load(self, name: str) -> bytes:
        """Return a file that this job saved; see `Job.load`."""
        return cast("bytes", self._wait(self._job.load(name)))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
