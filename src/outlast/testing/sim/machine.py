"""A simulated machine: the real supervisor, upkeep and worker pool, on nodes that can be killed."""

import asyncio
import random
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from outlast.blobs import Blobs, LocalStore
from outlast.broker.relayed import relayed
from outlast.core.errors import UnavailableError
from outlast.core.identity import uuid7
from outlast.core.limits import SECOND
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.protocol import Ledger
from outlast.testing.sim.loop import Node, SeededEntropy, VirtualClock, VirtualLoop
from outlast.testing.sim.port import Net, Port
from outlast.testing.sim.referee import Referee
from outlast.testing.sim.tickets import Brokers
from outlast.upkeep.loop import Upkeep
from outlast.upkeep.relay import Relay
from outlast.worker.config import PoolConfig
from outlast.worker.effects import Runnable
from outlast.worker.executors import Here
from outlast.worker.intake import intake_of
from outlast.worker.pool import Pool
from outlast.worker.supervisor import Child, Supervisor

_MARK: Final = "HOLDER"
_BEAT_US: Final = 1 * SECOND  # a tenth of what is shipped: leases run out while the chaos lasts
_LEASE_US: Final = 3 * SECOND
_NOWHERE: Final = LocalStore("nowhere")  # the simulated tasks save no files


class Worker:
    """A worker process, as `asyncio.subprocess.Process` looks to the supervisor."""

    def __init__(self, machine: "Machine", holder: str) -> None:
        self.returncode: int | None = None
        self.node = Node(f"worker {holder[-6:]}")
        self._machine = machine
        self.holder = holder
        self._pool: Pool | None = None
        self._ended = asyncio.Event()
        self.node.start(self._work())

    async def _work(self) -> None:
        """Do what `outlast.cli.child` does."""
        machine, holder = self._machine, self.holder
        brokers, queues = machine.brokers, ("default",)
        port = cast("Ledger", Port(machine.ledger, machine.worker_net))
        ledger = relayed(port, brokers.routes, brokers.open)
        try:
            await asyncio.sleep(machine.loads_s)
            await ledger.put("worker", holder, "{}", ttl_us=_LEASE_US)
            self._pool = pool = Pool(
                ledger,
                Blobs(_NOWHERE, machine.identity),
                Here(machine.tasks),
                PoolConfig(holder, queues, machine.concurrency, grace_s=3.0),
                clock=machine.clock,
                entropy=machine.entropy,
                intake=intake_of(port.bell, brokers.routes, queues, machine.entropy, brokers.open),
            )
            await pool.run()
            await ledger.put("worker", holder, None)
        except UnavailableError:
            self._exit(1)
        except Exception as error:  # noqa: BLE001 - a bug of the engine, for the referee
            machine.referee.blame(f"worker {holder[-6:]} broke: {error!r}")
            self._exit(1)
        self._exit(0)

    def _exit(self, code: int) -> None:
        self.node.kill()
        if self.returncode is None:
            self.returncode = code
            self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return cast("int", self.returncode)

    def send_signal(self, number: signal.Signals, /) -> None:
        if number == signal.SIGKILL:
            self._exit(-number)
        else:
            self.node.signal(self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self._pool is None:
            self._exit(-signal.SIGTERM)
        else:
            self._pool.drain()

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Machine:
    """A supervisor with upkeep, and its workers; both see the ledger over lines of their own."""

    def __init__(
        self,
        loop: VirtualLoop,
        ledger: MemoryLedger,
        referee: Referee,
        die: random.Random,
        switches: frozenset[str],
        tasks: Mapping[str, Runnable],
        brokers: Brokers | None = None,
    ) -> None:
        self.ledger = ledger
        self.brokers = brokers or Brokers(Net(die, frozenset()), referee.tally)  # which has none
        self.referee = referee
        self.tasks = tasks
        self.clock = VirtualClock(loop)
        self.entropy = SeededEntropy(random.Random(die.random()))
        self.net = Net(random.Random(die.random()), switches)
        self.worker_net = Net(random.Random(die.random()), switches)
        self.concurrency = die.randrange(1, 5)
        self.processes = die.choice([1, 1, 1, 2])
        self.loads_s = die.choice([0.1, 0.5, 4.0]) if "slow starts" in switches else 0.1
        self.supervisor: Supervisor | None = None
        self.workers: list[Worker] = []
        self._parent: Node | None = None
        self._loop = loop

    @property
    def is_up(self) -> bool:
        """Whether it runs, paused or not."""
        return self._parent is not None and self._parent.state != "dead"

    @property
    def nodes(self) -> list[Node]:
        """The supervisor's process first, then its workers' that live."""
        parents = [] if self._parent is None else [self._parent]
        return [*parents, *(w.node for w in self.workers if w.returncode is None)]

    def boot(self) -> None:
        """Start the supervisor, as `outlast worker` does."""
        self._parent = Node("supervisor")
        self._parent.start(self._run())

    def crash(self) -> None:
        """End all of it at once, and nobody is told."""
        for node in self.nodes:
            node.kill()
        self.workers = []

    def stop(self) -> None:
        """Ask it to stop in good order."""
        if self._parent is not None and self.supervisor is not None:
            self._parent.signal(self.supervisor.stop)

    async def _run(self) -> None:
        brokers = self.brokers
        port = cast("Ledger", Port(self.ledger, self.net))
        ledger = relayed(port, brokers.routes, brokers.open)
        upkeep = Upkeep(ledger, clock=self.clock, entropy=self.entropy)

        async def bury(_holder: str) -> None:
            await upkeep.reap()

        self.supervisor = Supervisor(
            ledger,
            [Child(["worker"], works=True) for _ in range(self.processes)],
            mark=_MARK,
            on_change=lambda _holders: None,
            after_death=bury,
            grace_s=3.0,
            spawn=self._spawn,
            identity=self.identity,
            beat_us=_BEAT_US,
            lease_us=_LEASE_US,
        )
        relay = Relay(
            ledger, brokers.routes, self.identity(), entropy=self.entropy, opener=brokers.open
        )
        keeping = [asyncio.create_task(upkeep.run())]
        if brokers.routes.urls:
            keeping.append(asyncio.create_task(relay.run()))
        try:
            await self._told("supervisor", self.supervisor.run)
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
        if self._parent is not None:
            self._parent.kill()

    async def _told(self, who: str, run: Callable[[], Any]) -> None:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - a bug of the engine, for the referee
            self.referee.blame(f"the {who} broke: {error!r}")

    def identity(self) -> str:
        """Make an ID from its own clock and dice."""
        return uuid7(self.clock.now_us(), self.entropy.bits(62))

    async def _spawn(self, command: list[str], environment: dict[str, str]) -> Worker:
        worker = Worker(self, environment[_MARK])
        self.workers = [*(w for w in self.workers if w.returncode is None), worker]
        return worker
