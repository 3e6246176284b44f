"""A thread with a connection: what arrives while it works shares the next transaction."""

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

import apsw

from outlast.core.errors import UnavailableError
from outlast.core.ports import Clock
from outlast.ledger.sqlite.connection import begin, commit, connect, roll_back, translated

T = TypeVar("T")
Work = Callable[[apsw.Connection, int], Any]  # (connection, the clock's now) → result
GROUP_MAX: Final = 512


class _Job:
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop, future: Any) -> None:
        self.work = work
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Lane:
    """Runs work on its own thread and connection; with `writes`, in durable group commits."""

    def __init__(
        self, path: str, clock: Clock, *, writes: bool, after_commit: Callable[[], None]
    ) -> None:
        self._path = path
        self._clock = clock
        self._writes = writes
        self._after_commit = after_commit
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection = connect(path)
        self._closed = False
        name = "outlast-writer" if writes else "outlast-reader"
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[apsw.Connection, int], T]) -> T:
        """Run the work in a transaction; its result comes back only after the commit."""
        if self._closed:
            raise UnavailableError("the ledger is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._inbox.put(_Job(work, loop, future))
        return await future

    async def close(self) -> None:
        """Finish what was accepted, then close the connection."""
        if not self._closed:
            self._closed = True
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (first := self._inbox.get()) is not None:
            group, last = [first], False
            while len(group) < GROUP_MAX:
                try:
                    job = self._inbox.get_nowait()
                except Empty:
                    break
                if job is None:
                    last = True
                    break
                group.append(job)
            before = self._connection.total_changes()
            self._transact(group)
            _deliver(group)
            # A claim that found nothing must not wake anyone, least of all its own worker.
            if self._connection.total_changes() != before:
                self._after_commit()
            if last:
                break
        self._connection.close()

    def _transact(self, group: list[_Job]) -> None:
        """Commit the group as one; if it fails, each alone, so that no neighbour is harmed."""
        connection = self._connection
        try:
            begin(connection, writes=self._writes)
            now = self._clock.now_us()
            for job in group:
                job.result = job.work(connection, now)
            commit(connection)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the work
            roll_back(connection)
            if len(group) == 1:
                group[0].error = translated(error, self._path)
            else:
                for job in group:
                    self._transact([job])


def _deliver(group: list[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, jobs)
        except RuntimeError:
            continue  # that loop was closed meanwhile; nobody waits any more


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
