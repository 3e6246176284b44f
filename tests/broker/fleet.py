"""Pools, upkeep and an app on one broker in this process; time is virtual, so waits are exact."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import wraps

from outlast.blobs import Blobs, LocalStore
from outlast.broker.memory import MemoryBroker, Tray
from outlast.broker.relayed import relayed
from outlast.broker.routes import Routes
from outlast.core.limits import DURATION_MAX_US
from outlast.core.retry import Backoff
from outlast.ledger.memory import MemoryLedger
from outlast.sdk.app import Outlast
from outlast.sdk.settings import Settings
from outlast.system import ENTROPY, new_id
from outlast.testing.sim.loop import VirtualClock, VirtualLoop
from outlast.upkeep.loop import Upkeep
from outlast.upkeep.relay import Relay
from outlast.worker.config import PoolConfig
from outlast.worker.executors import Here
from outlast.worker.intake import intake_of
from outlast.worker.pool import Pool

URL = "memory://"
AT_ONCE = Backoff(base_us=0)


def virtual(law):
    """Let a test run on virtual time."""

    @wraps(law)
    def run(**given):
        loop = VirtualLoop()
        try:
            return loop.run_until_complete(law(**given))
        finally:
            loop.close()

    return run


async def passing(seconds):
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


class CountedLedger(MemoryLedger):
    """Counts the claims of each worker."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.claims = Counter()

    async def claim(self, want, *, now=None):
        self.claims[want.holder] += 1
        return await super().claim(want, now=now)


class Fleet:
    def __init__(self, opener=None, *, routes=None):
        self.loop = asyncio.get_running_loop()
        self.tray = Tray()
        self.opener = opener or (lambda _url: MemoryBroker(tray=self.tray))
        self.routes = routes or Routes(URL)
        self.clock = VirtualClock(self.loop)
        self.bare = CountedLedger(self.clock)
        self.ledger = relayed(self.bare, self.routes, self.opener)
        self.app = app_of(self)
        self.app._ledger, self.app._is_lent = self.ledger, True
        self.started = {}  # when each job began, by what it was called
        self.gates = {}  # what a job waits for before it ends

    @property
    def waiting(self):
        return sum(len(queue) for queue in self.tray.waiting.values())

    async def has_started(self, *names):
        """Wait until jobs have begun; return how long that took."""
        began = self.loop.time()
        while not set(names) <= set(self.started):
            await passing(0.001)
            assert self.loop.time() < began + 60, (names, self.started)
        return self.loop.time() - began

    async def is_idle(self):
        """Wait until whoever works has looked, found nothing, and listens."""
        await passing(0.5)

    @asynccontextmanager
    async def pool(self, *, queues=("mail",), concurrency=4, intake=None):
        holder = new_id()
        await self.bare.put("worker", holder, "{}", ttl_us=DURATION_MAX_US)
        pool = Pool(
            self.ledger,
            Blobs(LocalStore("nowhere"), new_id),
            Here(self.app.tasks),
            PoolConfig(holder, queues, concurrency, grace_s=1.0),
            clock=self.clock,
            entropy=ENTROPY,
            intake=intake or intake_of(self.bare.bell, self.routes, queues, ENTROPY, self.opener),
        )
        running = asyncio.create_task(pool.run())
        try:
            yield pool
        finally:
            pool.drain()
            await running

    @asynccontextmanager
    async def upkeep(self):
        task = asyncio.create_task(Upkeep(self.ledger, clock=self.clock, entropy=ENTROPY).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def relay(self, name="a"):
        return Relay(self.ledger, self.routes, name, entropy=ENTROPY, opener=self.opener)


def app_of(fleet):
    app = Outlast()
    app.configure(Settings())

    @app.task(queue="mail")
    async def send(name: str) -> float:
        fleet.started[name] = fleet.loop.time()
        if name in fleet.gates:
            await fleet.gates[name].wait()
        return fleet.loop.time()

    @app.task(queue="mail", retries=1, backoff=AT_ONCE)
    async def twice(name: str) -> None:
        first = name not in fleet.started
        fleet.started[name] = fleet.loop.time()
        if first:
            raise ValueError("once more")

    fleet.send, fleet.twice = send, twice
    return app
