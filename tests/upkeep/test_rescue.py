"""Who rescues jobs says so, once for all of them, and not when there were none."""

from outlast.core.job import NewJob, Want
from outlast.core.limits import LEASE_US
from outlast.ledger.memory import MemoryLedger
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.upkeep.loop import Upkeep


async def test_a_rescue_is_told_once_and_only_when_there_was_one():
    ledger, told = MemoryLedger(), []
    upkeep = Upkeep(ledger, clock=CLOCK, entropy=ENTROPY, on_rescue=lambda: told.append("rescue"))
    await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    await ledger.insert([NewJob(id=new_id(), task="t") for _ in range(3)])
    await ledger.claim(Want("w", ("default",), 3))

    assert await upkeep.reap() == 0
    alive = list(told)
    await ledger.extend(["w"], 0)
    assert await upkeep.reap() == 3
    assert await upkeep.reap() == 0

    assert (alive, told) == ([], ["rescue"])
