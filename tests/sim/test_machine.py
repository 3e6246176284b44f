"""A simulated machine runs the real supervisor: what it does to its workers is what ours does."""

import asyncio
import random

from outlast.ledger.memory import MemoryLedger
from outlast.testing.sim.loop import VirtualClock, VirtualLoop
from outlast.testing.sim.machine import Machine
from outlast.testing.sim.port import watched
from outlast.testing.sim.referee import Referee
from outlast.testing.sim.workload import app


async def passing(seconds):
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


def on_a_machine(main):
    """Run a coroutine function on a machine of one worker, and its ledger; return its result."""
    loop = VirtualLoop(random.Random(1))
    referee = Referee()
    ledger = watched(MemoryLedger, VirtualClock(loop), referee)

    async def run():
        machine = Machine(loop, ledger, referee, random.Random(2), frozenset(), app.tasks)
        machine.processes = 1
        return await main(machine, ledger)

    try:
        found = loop.run_until_complete(run())
        assert referee.faults == []
        return found
    finally:
        loop.discard()


def test_a_worker_that_takes_long_to_load_is_left_to_it():
    async def main(machine, ledger):
        machine.loads_s = 20.0  # many beats, and leases, long
        machine.boot()
        await passing(1)
        (worker,) = machine.workers
        await passing(30)
        (doc,) = await ledger.docs("worker")
        return machine.workers == [worker], worker.returncode, doc.key == worker.holder

    assert on_a_machine(main) == (True, None, True)


def test_a_worker_that_was_given_up_for_dead_is_killed_at_the_next_beat_and_replaced():
    async def main(machine, ledger):
        machine.boot()
        await passing(1)
        (worker,) = machine.workers
        await ledger.extend([worker.holder], 0)
        await passing(2)
        (other,) = machine.workers
        return worker.returncode, other.holder != worker.holder

    assert on_a_machine(main) == (-9, True)


def test_what_a_crashed_machine_ran_never_goes_on():
    async def main(machine, ledger):
        machine.boot()
        await passing(1)
        (worker,) = machine.workers
        machine.crash()
        await passing(10)
        return worker.node.state, machine.is_up, await ledger.expired(10)

    assert on_a_machine(main) == ("dead", False, [])
