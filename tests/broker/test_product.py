"""What workers do with a broker, and without what it loses; on virtual time, to the millisecond."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from outlast.broker.memory import MemoryBroker
from outlast.broker.protocol import Ticket
from outlast.broker.routes import LEDGER, Routes
from outlast.core.errors import UnavailableError
from outlast.core.limits import BROKER_SWEEP_US, SECOND
from outlast.worker.intake import Doorbell
from tests.broker.fleet import URL, Fleet, passing, virtual

SWEEP_S = BROKER_SWEEP_US / SECOND
AT_ONCE_S = 0.1


class Losing(MemoryBroker):
    """Says that it has what it is given, and loses it."""

    async def publish(self, tickets):
        pass


class Gone(MemoryBroker):
    """Answers nobody."""

    async def publish(self, tickets):
        raise UnavailableError("nobody answers")

    async def receive(self, queues, limit, timeout):
        raise UnavailableError("nobody answers")

    depth = ack = publish


class Silent(Gone):
    """Takes every call, and never returns."""

    async def publish(self, tickets):
        await asyncio.get_running_loop().create_future()

    async def receive(self, queues, limit, timeout):
        await asyncio.get_running_loop().create_future()

    depth = ack = publish


@virtual
async def test_a_ticket_wakes_a_waiting_worker_at_once():
    fleet = Fleet()
    async with fleet.pool():
        await fleet.is_idle()

        await fleet.send.submit("a")

        assert await fleet.has_started("a") < AT_ONCE_S


@pytest.mark.parametrize("broker", [Losing, Gone, Silent])
@virtual
async def test_what_a_broker_loses_is_found_within_a_sweep(broker):
    fleet = Fleet(lambda _url: broker())
    async with fleet.pool():
        await fleet.is_idle()

        await fleet.send.submit("a")

        assert AT_ONCE_S < await fleet.has_started("a") <= SWEEP_S + AT_ONCE_S


@virtual
async def test_who_is_nudged_looks_at_once_whatever_the_broker_says():
    fleet = Fleet(lambda _url: Silent())
    async with fleet.pool() as pool:
        await fleet.is_idle()
        await fleet.send.submit("a")

        pool.look()

        assert await fleet.has_started("a") < AT_ONCE_S


@pytest.mark.parametrize("broker", [Gone, Silent])
@virtual
async def test_a_broker_that_is_away_holds_up_neither_submits_nor_the_end(broker):
    fleet = Fleet(lambda _url: broker())
    async with fleet.pool():
        began = fleet.loop.time()
        for number in range(100):
            await fleet.send.submit(str(number))
        assert fleet.loop.time() == began

        await fleet.has_started(*map(str, range(100)))
        began = fleet.loop.time()
    await fleet.ledger.close()

    assert fleet.loop.time() - began < 4


@virtual
async def test_an_idle_worker_is_not_woken_by_what_is_not_for_it():
    fleet = Fleet()
    async with fleet.pool(), fleet.pool():
        await fleet.is_idle()
        before = fleet.bare.claims.total()

        for _ in range(600):
            fleet.bare.bell.ring()
            await passing(0.1)

        swept = 60 / (0.8 * SWEEP_S) + 1
        assert 0 < fleet.bare.claims.total() - before <= 2 * swept


@virtual
async def test_tickets_of_jobs_that_are_claimed_without_one_are_taken_away():
    fleet = Fleet()
    for number in range(1_000):
        await fleet.send.submit(str(number))
    await passing(0.1)
    assert fleet.waiting == 1_000

    async with fleet.pool(), fleet.pool():
        await fleet.has_started(*map(str, range(1_000)))
        await passing(1)

        assert fleet.waiting == 0
        assert not fleet.tray.hands


@virtual
async def test_stale_tickets_cost_few_claims():
    fleet = Fleet()
    broker = MemoryBroker(tray=fleet.tray)
    async with fleet.pool():
        await fleet.is_idle()
        before = fleet.bare.claims.total()

        await broker.publish([Ticket("mail", str(number)) for number in range(1_000)])
        await passing(1)

        assert fleet.waiting == 0
        assert fleet.bare.claims.total() - before <= 15


@virtual
async def test_a_worker_takes_away_as_many_tickets_as_it_claimed_jobs():
    fleet = Fleet()
    fleet.gates = {name: asyncio.Event() for name in "abc"}
    for name in "abc":
        await fleet.send.submit(name)
    await passing(AT_ONCE_S)

    async with fleet.pool(concurrency=2):
        await fleet.has_started("a", "b")
        await passing(1)

        assert fleet.waiting == 1
        for gate in fleet.gates.values():
            gate.set()


@pytest.mark.parametrize("ledger", ["bare", "ledger"])
@virtual
async def test_a_worker_without_room_leaves_tickets_to_others(ledger):
    fleet = Fleet()
    fleet.gates["long"] = asyncio.Event()
    async with fleet.pool(concurrency=1) as pool:
        await fleet.is_idle()
        await getattr(fleet, ledger).insert([await job_of(fleet, "long")])
        pool._intake.look()
        await fleet.has_started("long")
        async with fleet.pool():
            await fleet.is_idle()
            for number in range(20):
                await fleet.send.submit(str(number))

                assert await fleet.has_started(str(number)) < AT_ONCE_S
        fleet.gates["long"].set()


@virtual
async def test_no_ticket_is_held_while_a_job_runs():
    fleet = Fleet()
    fleet.gates["long"] = asyncio.Event()
    async with fleet.pool(concurrency=1):
        await fleet.is_idle()
        await fleet.send.submit("long")
        await fleet.has_started("long")

        await passing(AT_ONCE_S)
        assert not fleet.tray.hands
        assert fleet.waiting == 0

        fleet.gates["long"].set()


@virtual
async def test_more_tickets_than_room_wake_others():
    fleet = Fleet()
    names = [str(number) for number in range(8)]
    fleet.gates = {name: asyncio.Event() for name in names}
    async with AsyncExitStack() as stack:
        for _ in names:
            await stack.enter_async_context(fleet.pool(concurrency=1))
        await fleet.is_idle()

        await fleet.app.insert([await job_of(fleet, name) for name in names])

        assert await fleet.has_started(*names) < AT_ONCE_S
        for gate in fleet.gates.values():
            gate.set()


async def job_of(fleet, name):
    (job,) = await fleet.send.jobs([{"name": name}])
    return job


@virtual
async def test_what_a_drained_worker_gives_back_wakes_another():
    fleet = Fleet()
    fleet.gates["a"] = asyncio.Event()
    first = fleet.pool()
    await first.__aenter__()
    await fleet.is_idle()
    await fleet.send.submit("a")
    await fleet.has_started("a")
    async with fleet.pool():
        await fleet.is_idle()
        await first.__aexit__(None, None, None)
        fleet.started.clear()
        fleet.gates["a"].set()

        assert await fleet.has_started("a") < AT_ONCE_S


@virtual
async def test_a_job_that_is_tried_again_at_once_or_falls_due_gets_a_ticket():
    fleet = Fleet()
    async with fleet.pool(), fleet.upkeep():
        await fleet.is_idle()
        again = await fleet.twice.submit("a")
        late = await fleet.send.options(delay="60s").submit("late")

        await passing(AT_ONCE_S)
        assert (await again.status()).status == "completed"
        assert await fleet.has_started("late") <= 60
        assert (
            (await late.record()).run_at
            <= fleet.clock.now_us()
            < ((await late.record()).run_at + AT_ONCE_S * SECOND)
        )


@virtual
async def test_a_freed_limit_is_used_at_once_by_who_freed_it():
    fleet = Fleet()
    fleet.gates["a"] = asyncio.Event()
    await fleet.app.limit("key:k", concurrency=1)
    async with fleet.pool():
        await fleet.is_idle()
        for name in "ab":
            await fleet.send.options(concurrency_key="k").submit(name)
        await fleet.has_started("a")
        await passing(0.5)
        assert "b" not in fleet.started

        fleet.gates["a"].set()

        assert await fleet.has_started("b") < AT_ONCE_S


@virtual
async def test_a_queue_that_is_resumed_is_worked_on_at_once():
    fleet = Fleet()
    await fleet.bare.put("queue", "mail", '{"paused": true}')
    async with fleet.pool():
        await fleet.is_idle()
        await fleet.send.submit("a")
        await passing(1)
        assert not fleet.started

        await fleet.bare.put("queue", "mail", '{"paused": false}')

        assert await fleet.has_started("a") < 0.5


@virtual
async def test_queues_with_and_without_a_broker_live_in_one_worker():
    fleet = Fleet(routes=Routes(LEDGER, {"mail": URL}))
    async with fleet.pool(queues=("mail", "bare")):
        await fleet.is_idle()

        await fleet.send.options(queue="bare").submit("by the bell")
        assert await fleet.has_started("by the bell") < AT_ONCE_S
        assert fleet.waiting == 0
        await fleet.is_idle()
        await fleet.send.submit("by a ticket")
        assert await fleet.has_started("by a ticket") < AT_ONCE_S


@virtual
async def test_the_relay_makes_up_for_what_a_broker_lost_and_no_more():
    fleet = Fleet()
    for number in range(30):
        await fleet.send.submit(str(number))
    await passing(AT_ONCE_S)
    fleet.tray.wipe()
    first, second = fleet.relay("a"), fleet.relay("b")

    assert [await first.relay(), await second.relay(), await first.relay()] == [30, 0, 0]
    assert fleet.waiting == 30


@virtual
async def test_another_node_relays_when_the_one_that_did_is_gone():
    fleet = Fleet()
    first, second = fleet.relay("a"), fleet.relay("b")
    await first.relay()
    await fleet.send.submit("a")
    await passing(AT_ONCE_S)
    fleet.tray.wipe()

    assert await second.relay() == 0
    await passing(3 * SWEEP_S)

    assert await second.relay() == 1


@virtual
async def test_the_relay_lives_through_a_broker_that_is_away():
    fleet = Fleet(lambda _url: Gone())
    await fleet.send.submit("a")

    assert await fleet.relay().relay() == 0


@pytest.mark.parametrize(("by_bell", "claims"), [(True, (1_000, 9_000)), (False, (100, 350))])
@virtual
async def test_a_job_wakes_one_worker_of_ten_and_a_bell_wakes_them_all(by_bell, claims):
    fleet = Fleet()
    async with AsyncExitStack() as stack:
        for _ in range(10):
            intake = Doorbell(fleet.bare.bell) if by_bell else None
            await stack.enter_async_context(fleet.pool(intake=intake))
        await fleet.is_idle()
        before = fleet.bare.claims.total()
        for number in range(100):
            await fleet.send.submit(str(number))
            await fleet.has_started(str(number))
            await passing(0.01)
        made = fleet.bare.claims.total() - before

    least, most = claims
    assert least <= made <= most
