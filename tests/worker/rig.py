"""A pool and its upkeep inside the test's own process, on a ledger in one file."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

from outlast.core.errors import UnavailableError
from outlast.core.fold import fold, of_row
from outlast.core.limits import LEASE_US
from outlast.core.retry import Backoff
from outlast.sdk.app import Outlast
from outlast.sdk.limits import declare
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.upkeep.loop import Upkeep
from outlast.worker.cage import Cages
from outlast.worker.config import PoolConfig
from outlast.worker.executors import Executors
from outlast.worker.pool import Pool

AT_ONCE = Backoff(base_us=0)
DEADLINE_S = 20.0


def new_app(folder, **settings):
    return Outlast(ledger=f"sqlite:///{folder}/outlast.db", blobs=f"{folder}/blobs", **settings)


def new_pool(app, *, ledger=None, holder=None, concurrency=4, grace_s=5.0, tasks=None, rules=()):
    queues = tuple(sorted({task.queue for task in app.tasks.values()})) or ("default",)
    return Pool(
        ledger or app.ledger,
        app.blobs,
        Executors(app.tasks if tasks is None else tasks, Cages({}), []),
        PoolConfig(holder or new_id(), queues, concurrency, grace_s, dict(rules)),
        clock=CLOCK,
        entropy=ENTROPY,
    )


async def register(ledger, holder):
    await ledger.put("worker", holder, "{}", ttl_us=LEASE_US)


@asynccontextmanager
async def running(app, *, ledger=None, **config):
    """Run a pool and the upkeep; drain the pool at the end."""
    pool = new_pool(app, ledger=ledger, **config)
    await declare(app)
    await register(app.ledger, pool._config.holder)
    upkeep = asyncio.create_task(Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY).run())
    work = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        pool.drain()
        upkeep.cancel()
        await asyncio.gather(upkeep, return_exceptions=True)
        async with asyncio.timeout(DEADLINE_S):
            await work


@contextmanager
def fleets(folder, app, ledger=None):
    """Give what starts `outlast worker`, as a user does; whatever is left at the end is killed."""
    started, ledger = [], ledger or f"sqlite:///{folder}/ledger.db"

    def start(processes=2, file=app, env=None, extra=(), **how):
        process = subprocess.Popen(
            [
                sys.executable, "-m", "outlast", "worker", str(file), "--json",
                "--processes", str(processes), "--ledger", ledger,
                "--blobs", f"{folder}/blobs", *extra,
            ],
            stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, **how,
        )  # fmt: skip
        started.append(process)
        assert "ready" in process.stdout.readline()
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


async def until(ledger, true):
    """Return when the coroutine function says so: asked anew whenever the ledger's bell rings."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await true()):
            await ledger.bell.wait(0.2)
        return found


async def has_event(app, handle, type_, times=1):
    async def seen():
        return len(await app.ledger.history(handle.id, type=type_)) >= times

    await until(app.ledger, seen)


async def types(app, handle):
    return [event.type for event in await app.ledger.history(handle.id)]


async def data_of(app, handle, type_):
    return [json.loads(e.data) for e in await app.ledger.history(handle.id, type=type_)]


async def assert_told(ledger, job_id):
    """The history has no gap, and folds to the row."""
    events = await ledger.history(job_id)
    (row,) = await ledger.get([job_id])
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert fold(events) == of_row(row)
    return row


class Deaf:
    """A ledger that does what it is told and then fails to say so, once, by one method."""

    def __init__(self, ledger, method):
        self._ledger = ledger
        self._method = method
        self.told = False

    def __getattr__(self, name):
        real = getattr(self._ledger, name)
        if name != self._method:
            return real

        async def deaf(*args, **kwargs):
            answer = await real(*args, **kwargs)
            if answer and not self.told:
                self.told = True
                raise UnavailableError("the connection was lost")
            return answer

        return deaf


class Gated:
    """A ledger whose answers to one method are held back, after the work was done."""

    def __init__(self, ledger, method):
        self._ledger = ledger
        self._method = method
        self.done = asyncio.Event()  # the ledger has done it
        self.answer = asyncio.Event()  # the answer may go out

    def __getattr__(self, name):
        real = getattr(self._ledger, name)
        if name != self._method:
            return real

        async def gated(*args, **kwargs):
            result = await real(*args, **kwargs)
            if result:
                self.done.set()
                await self.answer.wait()
            return result

        return gated
