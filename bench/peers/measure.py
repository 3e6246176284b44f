"""What is measured of each queue, in the same way for all of them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers.agent import WARMING
from bench.peers.process import Agent, PeerError, Worker, agent, memory_mb, tree, workers
from bench.peers.roster import Entry
from bench.peers.stores import Stores
from bench.peers.witness import count_done, read_started

START_S = 60  # what a worker may take until its first job runs
WARM_S = 2  # not counted at the start of a drain, unless a tenth of the jobs is done sooner
STALL_S = 10  # without any job done, while there are some: a fault of the harness or the queue
STANDBY_S = 4  # what a second worker gets to be ready before the first one is killed
RESTART_S = 1  # until whoever looks after processes starts a killed worker again


@dataclass(frozen=True)
class Sizes:
    """How much is asked of each queue."""

    scale: float = 1.0

    def count(self, full: int, least: int) -> int:
        return max(least, int(full * self.scale))

    @property
    def one(self) -> int:
        return self.count(2_000, 50)

    def bulk(self, *, has_bulk: bool) -> int:
        return self.count(100_000 if has_bulk else 20_000, 500)

    @property
    def pickups(self) -> int:
        return self.count(500, 20)

    @property
    def drain_s(self) -> float:
        """After so long a drain is judged by what is done."""
        return max(3.0, 20 * self.scale)

    @property
    def recovery_s(self) -> float:
        return max(15.0, 120 * self.scale)


@dataclass
class Row:
    """The figures of one queue; None is what could not be measured or does not exist."""

    name: str
    store: str
    about: dict[str, Any] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)  # of its store, just before
    submit: float | None = None
    bulk: float | None = None
    drain_1: float | None = None
    drain_2: float | None = None
    pickup_ms: tuple[float, float, float] | None = None
    idle_mb: float | None = None
    kill_job_s: float | None = None
    kill_worker_s: float | None = None
    is_tree: bool = False  # whether a worker is more than the process that runs the job
    waited_s: float | None = None  # how long a killed job was waited for
    failed: str = ""


@asynccontextmanager
async def _on(
    stores: Stores, entry: Entry, python: Path
) -> AsyncIterator[tuple[Agent, dict[str, Any], str, Path]]:
    with stores.fresh(entry.store) as (url, folder):
        async with agent(python, entry.adapter, url, folder) as (running, about):
            yield running, about, url, folder


async def rates(row: Row, stores: Stores, entry: Entry, python: Path, sizes: Sizes) -> None:
    """Submit and drain, one worker process on one fresh store, two on another; first the floor."""
    row.floor = stores.floor(entry.store, sizes.count(2_000, 500))
    bulk: list[float] = []
    for processes in (1, 2):
        async with _on(stores, entry, python) as (running, about, url, folder):
            row.about = about
            total = sizes.bulk(has_bulk=about["has_bulk"])
            if processes == 1:
                took = await running.ask(do="submit", count=sizes.one)
                row.submit = sizes.one / took["seconds"]
            took = await running.ask(do="bulk", count=total)
            bulk.append(total / took["seconds"])
            stores.settle(url)
            total += sizes.one + WARMING if processes == 1 else 0
            with workers(about["commands"][str(processes)], url, folder) as fleet:
                rate = await _drain(folder, total, fleet, sizes.drain_s)
        setattr(row, f"drain_{processes}", rate)
    row.bulk = sum(bulk) / len(bulk)


async def _drain(folder: Path, total: int, fleet: list[Worker], seconds: float) -> float:
    """Return jobs a second, from a tenth of the jobs (or 2 s) on, to their end or `seconds`."""
    born = time.monotonic()
    while not count_done(folder):
        for worker in fleet:
            worker.check()
        if time.monotonic() - born > START_S:
            raise PeerError(f"no job ran within {START_S} s: {fleet[0].said()}")
        await asyncio.sleep(0.01)
    first = time.monotonic()
    while (before := count_done(folder)) < total / 10 and time.monotonic() - first < WARM_S:
        await asyncio.sleep(0.005)
    start = moved = time.monotonic()
    last = before
    while (after := count_done(folder)) < total and time.monotonic() - start < seconds:
        await asyncio.sleep(0.005)
        if after > last:
            last, moved = after, time.monotonic()
        elif time.monotonic() - moved > STALL_S:
            raise PeerError(f"stood still after {after:,} of {total:,} jobs: {fleet[0].said()}")
    return (after - before) / (time.monotonic() - start)


async def idle(row: Row, stores: Stores, entry: Entry, python: Path, sizes: Sizes) -> None:
    """Pickup on an idle system, and what an idle worker takes of memory."""
    async with _on(stores, entry, python) as (running, about, url, folder):
        with workers(about["commands"]["1"], url, folder) as fleet:
            # The first ones wait for the worker to start, and are not counted.
            order = {"do": "pickup", "count": sizes.pickups + 10, "patience": START_S}
            answer = await running.ask(**order)
            late = sorted(answer["ms"][10:])
            row.pickup_ms = tuple(late[int(len(late) * share)] for share in (0.5, 0.95, 0.99))
            await asyncio.sleep(1)
            row.idle_mb = sum(memory_mb(worker.pid) for worker in fleet)


@dataclass
class Victim:
    """A worker that runs a job which a second worker could take over."""

    folder: Path
    worker: Worker
    pid: int
    is_tree: bool  # whether something of the worker is left when the process of the job is killed
    killed_ns: int = 0

    async def kill(self, *, whole: bool) -> None:
        self.killed_ns = time.time_ns()
        if not whole:
            os.kill(self.pid, signal.SIGKILL)
            return
        self.worker.kill()
        await asyncio.sleep(RESTART_S)
        self.worker.start()

    async def recovered(self, seconds: float) -> float | None:
        """Return after how long the job ran again; None for not within so many seconds."""
        while time.time_ns() - self.killed_ns < seconds * 1e9:
            again = [at for _, at, _ in read_started(self.folder) if at > self.killed_ns]
            if again:
                return (again[0] - self.killed_ns) / 1e9
            await asyncio.sleep(0.05)
        return None


@contextmanager
def _standing_by(command: list[str], url: str, folder: Path, number: int) -> Any:
    worker = Worker(command, url, folder, number)
    try:
        yield worker
    finally:
        worker.kill()


@asynccontextmanager
async def victim(stores: Stores, entry: Entry, python: Path) -> AsyncIterator[Victim]:
    """Give a worker in the midst of a job, with another one beside it."""
    async with _on(stores, entry, python) as (running, about, url, folder):
        (command, *_) = about["commands"]["1"]
        await running.ask(do="long")
        with _standing_by(command, url, folder, 1) as first:
            born = time.monotonic()
            while not (found := read_started(folder)):
                first.check()
                if time.monotonic() - born > START_S:
                    raise PeerError(f"the job did not start in {START_S} s: {first.said()}")
                await asyncio.sleep(0.05)
            pid = found[0][2]
            assert pid in tree(first.pid)
            with _standing_by(command, url, folder, 2) as second:
                await asyncio.sleep(STANDBY_S)
                second.check()
                yield Victim(folder, first, pid, is_tree=pid != first.pid)
