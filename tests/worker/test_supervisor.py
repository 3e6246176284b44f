"""Children are kept running, and a heartbeat ends nobody but those who were given up for dead."""

import asyncio

from outlast.core.limits import LEASE_US, MILLISECOND
from outlast.ledger.memory import MemoryLedger
from outlast.testing.sim.loop import VirtualLoop
from outlast.worker.supervisor import LOOK, Child, Supervisor


class Counted(MemoryLedger):
    """Says when heartbeats have come."""

    def __init__(self):
        super().__init__()
        self.beats = asyncio.Semaphore(0)

    async def extend(self, holders, ttl_us, *, now=None):
        lost = await super().extend(holders, ttl_us, now=now)
        if ttl_us:
            self.beats.release()
        return lost


async def nothing(holder):
    return None


def keeping(ledger, child):
    """Return a supervisor of one child that beats two hundred times a second."""
    return Supervisor(
        ledger, [child], mark="MARK", on_change=lambda _: None, after_death=nothing, grace_s=0,
        beat_us=5 * MILLISECOND,
    )  # fmt: skip


async def test_a_child_that_still_starts_is_not_taken_for_dead_and_one_given_up_is():
    ledger, child = Counted(), Child(["sleep", "300"], works=True)

    keeper = keeping(ledger, child)
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(20):
        for _ in range(30):
            await ledger.beats.acquire()
        assert child.deaths == 0
        first = child.process

        await ledger.put("worker", child.holder, "{}", ttl_us=LEASE_US)
        await ledger.extend([child.holder], 0)
        assert await first.wait() < 0

        keeper.stop()
        keeper.stop()
        assert await running == 0


async def test_a_child_whose_record_a_failover_lost_starts_anew():
    ledger, child = Counted(), Child(["sleep", "300"], works=True)

    keeper = keeping(ledger, child)
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(20):
        await ledger.beats.acquire()
        first = child.process
        await ledger.put("worker", child.holder, "{}", ttl_us=LEASE_US)
        for _ in range(3):
            await ledger.beats.acquire()

        await ledger.put("worker", child.holder, None)

        assert await first.wait() < 0
        keeper.stop()
        keeper.stop()
        assert await running == 0


class Mortal:
    """A process that lives for so many seconds and then dies of itself."""

    def __init__(self, seconds):
        self._seconds = seconds
        self.returncode = None

    async def wait(self):
        if self.returncode is None:
            never = asyncio.get_running_loop().create_future()
            await asyncio.wait([never], timeout=self._seconds)  # of virtual time
            self.returncode = 1
        return self.returncode

    def terminate(self, *_):
        """Be asked to end, which it does of itself."""

    send_signal = kill = terminate


def pauses_after(lives):
    """Let a child live so long each time; return for how long it was away after each death."""
    loop, left, born, died = VirtualLoop(), list(lives), [], []

    async def spawn(command, environment):
        born.append(loop.time())
        if not left:
            keeper.stop()
            return Mortal(0)
        died.append(loop.time() + left[0])
        return Mortal(left.pop(0))

    keeper = Supervisor(
        MemoryLedger(), [Child([], works=False)], mark="MARK", on_change=lambda _: None,
        after_death=nothing, spawn=spawn,
    )  # fmt: skip
    loop.run_until_complete(keeper.run())
    loop.close()
    return [round(b - d, 3) for b, d in zip(born[1:], died, strict=True)]


class Nudged(Mortal):
    """One that notes what signals it gets."""

    def __init__(self, seconds, got):
        super().__init__(seconds)
        self.send_signal = got.append


def nudged():
    """Let a supervisor nudge what it keeps: a worker, one that has nothing to do, and an API."""
    loop, got = VirtualLoop(), {"worker": [], "unneeded": [], "api": []}
    children = [
        Child(["worker"], works=True), Child(["unneeded"], works=True),
        Child(["api"], works=False),
    ]  # fmt: skip

    async def spawn(command, environment):
        return Nudged(2, got[command[0]])

    keeper = Supervisor(
        MemoryLedger(), children, mark="MARK", on_change=lambda _: None, after_death=nothing,
        spawn=spawn,
    )  # fmt: skip

    async def nudge():
        running = asyncio.create_task(keeper.run())
        await asyncio.wait([running], timeout=1)
        children[1].needed = False
        keeper.nudge()
        seen = {name: list(signals) for name, signals in got.items()}
        keeper.stop()
        await running
        return seen

    seen = loop.run_until_complete(nudge())
    loop.close()
    return seen


async def test_those_that_can_hold_leases_are_nudged_and_nobody_else():
    got = await asyncio.to_thread(nudged)

    assert got == {"worker": [LOOK], "unneeded": [], "api": []}


async def test_who_dies_at_once_waits_longer_each_time_and_who_lived_starts_at_once():
    away = await asyncio.to_thread(pauses_after, [1, 1, 1, 1, 1, 3600, 1, 1])

    assert away == [0.0, 0.2, 1.0, 5.0, 5.0, 0.0, 0.2, 1.0]
