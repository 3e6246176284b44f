"""A connection with a thread: what arrives while it works shares the next transaction."""

import asyncio
import os
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, TypeVar, cast

import apsw

from outlast.core.errors import UnavailableError
from outlast.core.ports import Clock
from outlast.ledger.sqlite.connection import (
    CHECKPOINT_PAGES,
    CHECKPOINT_PAGES_MIN,
    Patience,
    begin,
    checkpoint,
    commit,
    connect,
    explained,
    on_commit,
    remember_undo,
    roll_back,
)

T = TypeVar("T")
Item = TypeVar("Item")
Work = Callable[[apsw.Connection, int], Any]  # (connection, the clock's now) → result
# The same for many at once: (connection, items, now) → a result each.
Alike = Callable[[apsw.Connection, Sequence[Any], int], Sequence[Any]]
GROUP_MAX: Final = 512
# What is committed on the caller's own thread blocks its event loop: only lone works on a disk that
# just proved quick; after one slow commit the thread has them for a while.
HERE_US: Final = 2_000
REST_US: Final = 1_000_000


class _Signal(Enum):
    CHECKPOINT = auto()
    CLOSE = auto()


class _Job:
    __slots__ = ("alike", "caller", "error", "future", "item", "loop", "result", "vital")

    def __init__(
        self,
        alike: Alike,
        item: Any,
        loop: asyncio.AbstractEventLoop,
        future: Any,
        *,
        vital: bool,
    ) -> None:
        self.alike = alike
        self.item = item
        self.vital = vital  # may use the room that is kept for a full disk
        self.caller = id(asyncio.current_task())
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Lane:
    """Runs work on its own connection; with `writes`, in durable group commits.

    Works go to the lane's thread, which commits together what arrived meanwhile. Short ones are
    committed on the caller's thread while nobody else has the connection: two thread switches
    cost as much as a quick disk's sync.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        writes: bool,
        after_commit: Callable[[], None],
        make_room: Callable[[], bool] = lambda: False,
        is_full: Callable[[], bool] = lambda: False,  # the disk, but for the room that was made
        huge: bool = False,  # its works may change more than memory holds
    ) -> None:
        self._path = path
        self._clock = clock
        self._writes = writes
        self._after_commit = after_commit
        self._make_room = make_room
        self._is_full = is_full
        self._inbox: SimpleQueue[list[_Job] | _Signal] = SimpleQueue()
        self._short: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._patience = Patience()
        self._connection = connect(path, self._patience)
        if writes and not huge:
            remember_undo(self._connection)
        self._pages = 0
        on_commit(self._connection, self._grown)
        self._turn = Lock()  # who may use the connection
        self._rests_until = self._caller = 0
        self._closed = self._ended = False
        self._process = os.getpid()
        name = "outlast-writer" if writes else "outlast-reader"
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[apsw.Connection, int], T], *, vital: bool = True) -> T:
        """Run the work in a transaction; its result comes back only after the commit."""
        return cast("T", await self._put(_one_by_one, work, short=False, vital=vital))

    def run_alike(
        self,
        work: Callable[[apsw.Connection, Sequence[Item], int], Sequence[T]],
        item: Item,
        *,
        vital: bool = True,
    ) -> asyncio.Future[T]:
        """Run a short work on an item, together with those who run it on another one."""
        return self._put(work, item, short=True, vital=vital)

    def _put(self, alike: Alike, item: Any, *, short: bool, vital: bool) -> asyncio.Future[Any]:
        if self._closed:
            raise UnavailableError("the ledger is closed")
        if self._process != os.getpid():
            raise UnavailableError(
                f"the ledger {self._path} was opened by process {self._process}, and this is "
                f"its fork {os.getpid()}",
                hint="open the app, or the ledger, in each process after the fork",
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        job = _Job(alike, item, loop, future, vital=vital)
        if short:
            self._gather(job)
        else:
            self._hand_over([job])
        return future

    async def close(self) -> None:
        """Finish what was accepted, then close the connection."""
        if self._process != os.getpid():
            return  # the thread and the locks are the parent's
        if not self._closed:
            self._closed = True
            for loop in list(self._short):
                self._hand_over(self._short.pop(loop, []))
            self._inbox.put(_Signal.CLOSE)
            await asyncio.to_thread(self._thread.join)

    def _is_lone(self, group: list[_Job]) -> bool:
        """Whether the caller is the one who came last, and so most likely the only one.

        Many callers get more from commits that they share than each from one without a switch.
        """
        before, self._caller = self._caller, group[-1].caller
        return len(group) == 1 and before == self._caller

    def _gather(self, job: _Job) -> None:
        """Let what the loop's ready tasks submit in this turn share one transaction."""
        together = self._short.get(job.loop)
        if together is None:
            together = self._short[job.loop] = []
            job.loop.call_soon(self._flush, job.loop)
        together.append(job)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        group = self._short.pop(loop, [])
        if group and not (self._is_lone(group) and self._commit_here(group)):
            self._hand_over(group)

    def _hand_over(self, group: list[_Job]) -> None:
        self._inbox.put(group)
        if self._ended:
            self._refuse()

    def _commit_here(self, group: list[_Job]) -> bool:
        """Commit on the caller's thread, unless that could keep its loop waiting."""
        start = self._clock.elapsed_us()
        if start < self._rests_until or not self._inbox.empty():
            return False
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._ended:
                return False
            before = self._connection.total_changes()
            self._patience.none = True
            try:
                begin(self._connection, writes=self._writes)
            except apsw.Error:
                return False  # another process writes; the thread may wait for it
            finally:
                self._patience.none = False
            self._transact(group)
            changed = self._connection.total_changes() != before
            due = self._is_log_long()
        finally:
            self._turn.release()
        if self._clock.elapsed_us() - start > HERE_US:
            self._rests_until = self._clock.elapsed_us() + REST_US
        _resolve(group)
        if changed:
            self._after_commit()
        if due:
            self._inbox.put(_Signal.CHECKPOINT)
        return True

    def _run(self) -> None:
        signal: _Signal | None = None
        while signal is not _Signal.CLOSE:
            group, signal = self._next_group()
            if group:
                with self._turn:
                    before = self._connection.total_changes()
                    self._transact(group)
                    changed = self._connection.total_changes() != before
                _deliver(group)
                # A claim that found nothing must not wake anyone, least of all its own worker.
                if changed:
                    self._after_commit()
            if self._is_log_long():
                # After the answers, so that nobody waits for it who need not.
                with self._turn:
                    checkpoint(self._connection)
                self._pages = 0
        with self._turn:
            self._connection.close()
            self._ended = True
        self._refuse()

    def _next_group(self) -> tuple[list[_Job], _Signal | None]:
        group: list[_Job] = []
        item = self._inbox.get()
        while not isinstance(item, _Signal):
            group += item
            if len(group) >= GROUP_MAX:
                return group, None
            try:
                item = self._inbox.get_nowait()
            except Empty:
                return group, None
        return group, item

    def _refuse(self) -> None:
        """Tell those who came too late; nothing of theirs was written."""
        late: list[_Job] = []
        while not self._inbox.empty():
            item = self._inbox.get()
            late += [] if isinstance(item, _Signal) else item
        for job in late:
            job.error = UnavailableError("the ledger is closed")
        _deliver(late)

    def _grown(self, pages: int) -> None:
        self._pages = pages

    def _is_log_long(self) -> bool:
        if self._pages < CHECKPOINT_PAGES_MIN:
            return False
        return self._pages >= CHECKPOINT_PAGES or self._is_full()

    def _transact(self, group: list[_Job]) -> None:
        """Commit the group as one; if it fails, each alone, so that no neighbour is harmed."""
        connection = self._connection
        try:
            if not connection.in_transaction:
                begin(connection, writes=self._writes)
            now = self._clock.now_us()
            for alike, jobs in groupby(group, lambda job: job.alike):
                some = list(jobs)
                results = alike(connection, [job.item for job in some], now)
                for job, result in zip(some, results, strict=True):
                    job.result = result
            commit(connection)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the work
            roll_back(connection)
            if len(group) > 1:
                for job in group:
                    self._transact([job])
            elif isinstance(error, apsw.FullError) and group[0].vital and self._make_room():
                self._transact(group)
            else:
                group[0].error = explained(error, connection, self._path)


def _one_by_one(db: apsw.Connection, works: Sequence[Work], now: int) -> list[Any]:
    return [work(db, now) for work in works]


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
