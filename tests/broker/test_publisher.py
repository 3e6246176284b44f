"""Tickets leave in the background, in batches, and never hold anybody up."""

import asyncio
import logging

import pytest

from outlast.broker.memory import MemoryBroker, Tray
from outlast.broker.protocol import Ticket
from outlast.broker.publisher import Publisher
from outlast.broker.routes import Routes
from outlast.core.errors import UnavailableError
from tests.broker.fleet import URL, passing, virtual


class Moody(MemoryBroker):
    """Is up, or fails, or answers nobody, as it is told."""

    mood = "up"

    def __init__(self):
        super().__init__(tray=Tray())
        self.batches = []

    async def publish(self, tickets):
        if self.mood == "silent":
            await asyncio.get_running_loop().create_future()
        if self.mood == "down":
            raise UnavailableError("nobody answers")
        self.batches.append(len(tickets))
        await super().publish(tickets)

    @property
    def waiting(self):
        return len(self._tray.waiting["mail"])


def made():
    broker = Moody()
    return Publisher(Routes("redis://ann:hunter2@cache.test"), lambda _url: broker), broker


def tickets(count):
    return [Ticket("mail", str(number)) for number in range(count)]


@virtual
async def test_many_tickets_leave_in_few_batches():
    publisher, broker = made()

    publisher.give(tickets(1_200))
    await passing(0.1)

    assert broker.batches == [500, 500, 200]


@pytest.mark.parametrize("mood", ["down", "silent"])
@virtual
async def test_a_broker_that_is_away_costs_tickets_and_bounded_memory(mood):
    publisher, broker = made()
    broker.mood = mood

    publisher.give(tickets(25_000))
    await passing(60)
    broker.mood = "up"
    await passing(60)
    publisher.give(tickets(3))
    await passing(0.1)

    ((published, dropped, is_up),) = publisher.figures.values()
    assert published + dropped == 25_003
    assert dropped >= 15_000
    assert broker.waiting == published >= 3
    assert is_up


@virtual
async def test_it_is_told_once_that_a_broker_is_away_and_once_that_it_is_back():
    said = Said()
    logging.getLogger("outlast.broker").addHandler(said)
    publisher, broker = made()
    broker.mood = "down"
    for _ in range(5):
        publisher.give(tickets(1))
        await passing(10)
    broker.mood = "up"
    for _ in range(5):
        publisher.give(tickets(1))
        await passing(10)
    logging.getLogger("outlast.broker").removeHandler(said)

    assert said.lines == [
        "broker redis://ann@cache.test is away (nobody answers): workers find jobs by their sweep",
        "broker redis://ann@cache.test is back",
    ]


class Said(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@virtual
async def test_what_is_left_is_handed_over_at_the_end():
    publisher, broker = made()
    publisher.give(tickets(3))

    await publisher.close()

    assert broker.waiting == 3


@virtual
async def test_a_silent_broker_holds_up_the_end_for_two_seconds_at_most():
    publisher, broker = made()
    broker.mood = "silent"
    publisher.give(tickets(3))
    began = asyncio.get_running_loop().time()

    await publisher.close()

    assert asyncio.get_running_loop().time() - began <= 2


@virtual
async def test_a_queue_without_a_broker_gives_no_tickets():
    broker = Moody()
    publisher = Publisher(Routes(own={"other": URL}), lambda _url: broker)

    publisher.give(tickets(3))
    await passing(1)

    assert broker.waiting == 0
