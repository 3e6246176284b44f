"""A heartbeat ends nobody but those who were given up for dead."""

import asyncio

from outlast.core.limits import LEASE_US, MILLISECOND
from outlast.ledger.memory import MemoryLedger
from outlast.worker.supervisor import Child, Supervisor


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


async def test_a_child_that_still_starts_is_not_taken_for_dead_and_one_given_up_is():
    ledger, child = Counted(), Child(["sleep", "300"], works=True)

    async def nothing(holder):
        return None

    keeper = Supervisor(
        ledger, [child], mark="MARK", on_change=lambda _: None, after_death=nothing, grace_s=0,
        beat_us=5 * MILLISECOND,
    )  # fmt: skip
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
