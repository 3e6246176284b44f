"""The laws of brokers have teeth: each planted bug makes a named law fail."""

import asyncio
import json

import pytest

from outlast.broker import memory
from outlast.broker.memory import MemoryBroker, Tray
from outlast.broker.protocol import Ticket
from outlast.testing import broker_laws as laws
from tests.broker.houses import MemoryHouse


class KeepsWhenClosed(MemoryBroker):
    async def close(self):
        self._mine.clear()


class AcksNothing(MemoryBroker):
    async def ack(self, deliveries):
        pass


class AcksAtReceipt(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        got = await super().receive(queues, limit, timeout)
        await super().ack(got)
        return got


class TakesFromAnyQueue(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        return await super().receive([*queues, *self._tray.waiting], limit, timeout)


class TakesAllThereIs(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        return await super().receive(queues, 1_000, timeout)


class HearsOnlyTheFirstQueue(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        return await super().receive(queues[:1], limit, timeout)


class HearsOnlyAtItsEnd(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        if not self._tray.take(queues, limit):
            await super().receive(["nobody's"], limit, min(timeout, 2.5))
        return await super().receive(queues, limit, 0.01)


class NeverEnds(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        return await super().receive(queues, limit, timeout + 2)


class LosesWhatIsCancelled(MemoryBroker):
    async def receive(self, queues, limit, timeout):
        got = await super().receive(queues, limit, timeout)
        self._mine -= {one.receipt for one in got}
        for _ in range(3):
            await asyncio.wait([asyncio.ensure_future(_nothing())])
        self._mine |= {one.receipt for one in got}
        return got


async def _nothing():
    pass


class SwallowsTheSameAgain(MemoryBroker):
    async def publish(self, tickets):
        self.seen = getattr(self, "seen", set())
        await super().publish([one for one in tickets if one not in self.seen])
        self.seen |= set(tickets)


class CountsOnlyWhatWaits(MemoryBroker):
    async def depth(self, queues):
        return {queue: len(self._tray.waiting[queue]) for queue in queues}


class FoldsNames(MemoryBroker):
    async def publish(self, tickets):
        await super().publish([Ticket(queue.lower(), job_id) for queue, job_id in tickets])

    async def receive(self, queues, limit, timeout):
        got = await super().receive([queue.lower() for queue in queues], limit, timeout)
        return [one._replace(queue=queues[0]) for one in got]


class LosesEveryHundredth(MemoryBroker):
    async def publish(self, tickets):
        self.count = getattr(self, "count", 0) + len(tickets)
        await super().publish(tickets[1:] if self.count % 100 == 0 else tickets)


class LeavesATask(MemoryBroker):
    async def publish(self, tickets):
        await super().publish(tickets)
        never = asyncio.get_running_loop().create_future()
        self.left = asyncio.create_task(asyncio.wait([never], timeout=0.5))


class DeafAfterAWipe(MemoryBroker):
    def __init__(self, *, tray):
        super().__init__(tray=tray)
        self._known = tray.waiting

    async def publish(self, tickets):
        await super().publish(tickets if self._tray.waiting is self._known else ())


class FreshTray(Tray):
    def wipe(self):
        super().wipe()
        self.waiting = type(self.waiting)(self.waiting.default_factory)


MUTANTS = {
    KeepsWhenClosed: laws.test_what_a_closed_holder_had_in_hand_comes_to_another,
    AcksNothing: laws.test_what_is_settled_never_comes_again,
    AcksAtReceipt: laws.test_what_a_dead_holder_had_in_hand_comes_to_another,
    TakesFromAnyQueue: laws.test_only_the_queues_asked_for_are_received,
    TakesAllThereIs: laws.test_no_more_than_the_limit_is_received,
    HearsOnlyTheFirstQueue: laws.test_many_tickets_of_several_queues_come_whole,
    HearsOnlyAtItsEnd: laws.test_a_waiting_receive_hears_of_a_ticket_soon,
    NeverEnds: laws.test_a_receive_ends_after_its_time_with_nothing,
    LosesWhatIsCancelled: laws.test_a_cancelled_receive_keeps_nothing_for_good,
    SwallowsTheSameAgain: laws.test_a_ticket_published_again_comes_again,
    CountsOnlyWhatWaits: laws.test_depth_counts_what_waits_and_what_is_in_hand,
    FoldsNames: laws.test_odd_names_are_names_and_stay_apart,
    LosesEveryHundredth: laws.test_consumers_share_and_lose_nothing,
    LeavesATask: laws.test_a_closed_broker_leaves_no_task,
    DeafAfterAWipe: laws.test_a_wiped_broker_works_on,
}


@pytest.mark.parametrize(("mutant", "law"), MUTANTS.items(), ids=lambda one: one.__name__)
async def test_a_planted_bug_is_caught(monkeypatch, mutant, law):
    monkeypatch.setattr(laws, "_SOON_S", 0.5)
    house = MemoryHouse(mutant)
    house.tray = FreshTray()

    with pytest.raises(AssertionError):
        await law(house)


async def test_a_broker_that_trusts_what_it_reads_is_caught(monkeypatch):
    def trusting(raw):
        return Ticket(*json.loads(raw).values())

    monkeypatch.setattr(memory, "unpacked", trusting)

    with pytest.raises(json.JSONDecodeError):
        await laws.test_junk_is_dropped_and_harms_nobody(MemoryHouse())
