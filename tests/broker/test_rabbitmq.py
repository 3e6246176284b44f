"""What a RabbitMQ may do to us beyond the laws: hang, die, fill up, refuse, and be told about."""

import asyncio
import os
import signal

import aiormq
import pytest

from outlast.broker import open_broker, rabbitmq, rabbitmq_hand
from outlast.broker.protocol import Ticket
from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.system import new_id
from outlast.testing.servers import free_port

BOUND_S = 15.0  # five for an answer, a few for a farewell, and what a busy machine takes


@pytest.fixture
def house(rabbitmq_house):
    return rabbitmq_house


@pytest.fixture
async def broker(house):
    broker = await house.open()
    yield broker
    await broker.close()


@pytest.fixture
def queue():
    return new_id()


def tickets(queue, count):
    return [Ticket(queue, new_id()) for _ in range(count)]


async def refused(call, says):
    """See a call refused, in a bounded time, and without a password."""
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(UnavailableError, match=says) as refusal:
            await call
    assert "hunter2" not in str(refusal.value)


async def until_it_works(call):
    """Call until the broker is available again."""
    async with asyncio.timeout(4 * BOUND_S):
        while True:
            try:
                return await call()
            except UnavailableError:
                pass


async def heard(broker, queue):
    """Receive as a worker does that has nothing to do: again and again."""
    while not (got := await until_it_works(lambda: broker.receive([queue], 1, 1.0))):
        pass
    await broker.ack(got)
    return got


async def received(broker, queue, count, limit=100):
    """Receive as many tickets, and settle them."""
    got = []
    async with asyncio.timeout(BOUND_S):
        while len(got) < count:
            new = await until_it_works(lambda: broker.receive([queue], limit, 1.0))
            await broker.ack(new)
            got += new
    return sorted(one.job_id for one in got)


@pytest.mark.slow
@pytest.mark.fault("F22")
async def test_a_server_that_hangs_is_given_up_in_time_and_found_again(house, broker, queue):
    await broker.publish(tickets(queue, 1))
    await received(broker, queue, 1)
    os.kill(house.server.pid, signal.SIGSTOP)

    try:
        for call in (
            lambda: broker.publish(tickets(queue, 1)),
            lambda: broker.receive([queue], 1, 1.0),
            lambda: broker.depth([queue]),
        ):
            await refused(call(), "expected an answer in time")
    finally:
        os.kill(house.server.pid, signal.SIGCONT)

    await until_it_works(lambda: broker.publish(tickets(queue, 1)))
    assert await received(broker, queue, 1)


@pytest.mark.slow
@pytest.mark.fault("F21")
async def test_a_server_that_was_killed_is_found_again_with_what_it_confirmed(house, broker, queue):
    kept = tickets(queue, 20)
    await broker.publish(kept)
    # What is killed within a second of making a queue has not written down that there is one.
    await broker.receive([new_id()], 1, 3.0)
    waiting = asyncio.create_task(broker.receive([new_id()], 1, 30.0))
    await broker.depth([queue])
    house.server.stop(signal.SIGKILL)

    await refused(waiting, "expected a server that answers")
    await refused(broker.publish(tickets(queue, 1)), "see whether it is up")
    house.server.start()  # in this thread: a server ends with the thread that started it

    await until_it_works(lambda: broker.depth([queue]))
    assert await received(broker, queue, 20) == sorted(one.job_id for one in kept)


@pytest.mark.slow
@pytest.mark.fault("F23")
async def test_a_server_short_of_memory_refuses_tickets_in_time_and_gives_what_it_has(
    house, broker, queue
):
    await broker.publish(tickets(queue, 3))
    await asyncio.to_thread(house.server.control, "set_vm_memory_high_watermark", "0")

    try:
        for _ in range(2):  # once it learns that it is blocked, once it knows
            await refused(broker.publish(tickets(queue, 1)), "expected room for a ticket")
        assert len(await received(broker, queue, 3)) == 3
        assert (await broker.check([queue]))["room"].startswith("warning: ")
    finally:
        await asyncio.to_thread(house.server.control, "set_vm_memory_high_watermark", "0.4")

    await until_it_works(lambda: broker.publish(tickets(queue, 1)))


@pytest.mark.fault("F21")
@pytest.mark.parametrize("harm", ["purge_queue", "delete_queue"])
async def test_a_queue_that_is_emptied_or_deleted_deafens_nobody_for_long(
    house, broker, queue, harm, monkeypatch
):
    monkeypatch.setattr(rabbitmq_hand, "FRESH_S", 2.0)
    other = await house.open()
    await other.publish(tickets(queue, 5))
    assert len(await received(broker, queue, 5)) == 5
    waiting = asyncio.create_task(heard(broker, queue))

    await asyncio.to_thread(house.server.control, harm, rabbitmq.queue_name(queue))
    await until_it_works(lambda: other.publish(tickets(queue, 1)))

    async with asyncio.timeout(BOUND_S):
        assert len(await waiting) == 1
    await other.close()


async def test_what_lies_with_one_that_receives_no_more_comes_to_another(house, broker, queue):
    await broker.publish(tickets(queue, 10))
    held = await broker.receive([queue], 5, 5.0)

    other = await house.open()
    got = await received(other, queue, 10 - len(held))

    assert len(got) == 10 - len(held)
    await other.close()
    await broker.ack(held)


async def test_that_law_finds_one_that_lets_nothing_go(house, broker, queue, monkeypatch):
    monkeypatch.setattr(rabbitmq, "_LINGER_S", 3_600)
    await broker.publish(tickets(queue, 10))
    while not broker._hand._buffer:
        await broker.ack(await broker.receive([queue], 5, 0.1))
    prefetched = len(broker._hand._buffer)

    other = await house.open()
    waiting = (await broker.depth([queue]))[queue] - broker._hand.unsettled()[queue]
    await received(other, queue, waiting)

    assert list(await other.receive([queue], 10, 0.5)) == []
    assert len(broker._hand._buffer) == prefetched
    await other.close()


async def test_a_queue_of_another_kind_is_used_as_it_is_and_warned_of(house, broker, queue):
    async with aiormq.connect(house.server.url) as connection:
        channel = await connection.channel()
        await channel.queue_declare(rabbitmq.queue_name(queue), durable=True)

    await broker.publish(tickets(queue, 2))

    assert len(await received(broker, queue, 2)) == 2
    assert "is no quorum queue" in (await broker.check([queue]))["queues"]


async def test_a_server_that_is_well_is_no_cause_for_a_warning(broker, queue):
    facts = await broker.check([queue])

    assert facts["server"].startswith("RabbitMQ ")
    assert not [text for text in facts.values() if text.startswith("warning")]


async def test_a_wrong_password_is_said_and_not_told(house, queue):
    broker = open_broker(f"amqp://outlast:hunter2@127.0.0.1:{house.server.port}/")

    await refused(broker.publish(tickets(queue, 1)), "expected a user and password that it acc")

    await broker.close()


async def test_a_virtual_host_that_is_not_there_is_said(house, queue):
    broker = open_broker(house.server.url.replace("%2F", "nowhere"))

    await refused(broker.depth([queue]), "expected a virtual host of this user's")

    await broker.close()


async def test_a_server_that_is_not_there_is_said(queue):
    broker = open_broker(f"amqp://ann:hunter2@127.0.0.1:{free_port()}/")

    await refused(broker.receive([queue], 1, 1.0), "see whether it is up and within reach")

    await broker.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("amqp://ann:hunter2@mq.test/?heartbeat=1", "got 'heartbeat'"),
        ("amqp://ann:hunter2#@mq.test", "got what can't be read"),
        ("amqps://mq.test:hunter2/", "got what can't be read"),
        ("amqp://", "got what can't be read"),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_its_password(url, says):
    with pytest.raises(InvalidInputError, match=says) as refusal:
        open_broker(url)

    assert "hunter2" not in str(refusal.value)
