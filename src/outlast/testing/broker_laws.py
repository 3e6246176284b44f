"""The laws of brokers: what every `Broker` must hold. Each law uses queues that no other does."""
# ruff: noqa: D103 - a law's name says what it states
# ruff: noqa: PLR2004 - how many tickets a law uses is a literal

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from outlast.broker.protocol import Broker, Delivery, Ticket
from outlast.system import new_id

_SOON_S = 5.0  # a bound for a broker that works, on a machine that is busy
_POLL_S = 0.02
_TURN_S = 1.0
# Names that a broker may take for one, or for a pattern; and the longest there is.
ODD = (
    "mail", "Mail", "MAIL", "ma-il", "ma_il", "ma.il", "ma il", "ma/il", "ma:il", "mail ", "mail-",
    "ma*", "*", "#", "$SYS", "..", "{mail}", "mail;drop", "'mail'", '"mail"', "a,b", "100%", "ö",
    "o\u0308", "почта", "郵便", "📬", "x" * 200, "x" * 199 + "y", "📬" * 200, "📬" * 199 + "📭",
)  # fmt: skip
JUNK = (
    b"", b"\x00\xff\xfe", b"not a ticket", b"[]", b"{}", b"null", b'{"queue":1,"job":2}',
    b"[" * 4_000, b'{"queue":"q"}', b'{"queue":"q","job":""}', b"1e999999", b"x" * 200_000,
)  # fmt: skip


class House(Protocol):
    """What the laws need of a broker's server, and of whoever may harm it."""

    within_s: float
    """After how long at most a ticket that a dead holder had in hand comes to another."""

    sees_hands: bool
    """Whether `depth` counts what is in the hands of other processes, too."""

    async def open(self) -> Broker:
        """Open one more broker, as another process would have."""
        ...

    async def die(self, broker: Broker) -> None:
        """Let go of it as the death of its process does: its connections break, nothing is said."""
        ...

    async def plant(self, queue: str, message: bytes) -> bool:
        """Put a raw message where a queue's tickets are; False if this broker can't carry it."""
        ...

    async def wipe(self) -> None:
        """Let the broker lose everything it has."""
        ...


@asynccontextmanager
async def _opened(house: House) -> AsyncIterator[Broker]:
    broker = await house.open()
    try:
        yield broker
    finally:
        await broker.close()


def _tickets(queue: str, count: int) -> list[Ticket]:
    return [Ticket(queue, new_id()) for _ in range(count)]


def _ids(them: Sequence[Ticket | Delivery]) -> list[str]:
    return sorted(one.job_id for one in them)


async def _received(
    broker: Broker,
    queues: Sequence[str],
    count: int,
    within_s: float | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Receive until there are as many different tickets; fail when they don't come in time."""
    found: dict[str, Delivery] = {}
    clock = asyncio.get_running_loop()
    within_s = within_s or _SOON_S
    until = clock.time() + within_s
    while len(found) < count:
        rest = until - clock.time()
        assert rest > 0, f"expected {count} tickets within {within_s} s, got {len(found)}"
        for one in await broker.receive(queues, limit, min(rest, _TURN_S)):
            found[one.job_id] = one
    return list(found.values())


async def _eventually(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Ask until the answer is the wanted one."""
    clock = asyncio.get_running_loop()
    until = clock.time() + _SOON_S
    while (got := await ask()) != wanted:
        assert clock.time() < until, f"expected {wanted} within {_SOON_S} s, got {got}"
        await asyncio.sleep(_POLL_S)


async def test_a_ticket_comes_to_whoever_receives(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        ticket = Ticket(new_id(), new_id())
        await giver.publish([ticket])

        (got,) = await _received(taker, [ticket.queue], 1)

        assert (got.queue, got.job_id) == ticket
        await taker.ack([got])


async def test_many_tickets_of_several_queues_come_whole(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        one, other = new_id(), new_id()
        tickets = [*_tickets(one, 130), *_tickets(other, 130)]
        await giver.publish(tickets)

        got = await _received(taker, [one, other], 260, 2 * _SOON_S)

        assert sorted(each[:2] for each in got) == sorted(tickets)
        await taker.ack(got)


async def test_only_the_queues_asked_for_are_received(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        mine, others = new_id(), new_id()
        await giver.publish([*_tickets(mine, 3), *_tickets(others, 3)])

        got = await _received(taker, [mine], 3)
        got += await taker.receive([mine], 100, 0.3)

        assert [one.queue for one in got] == [mine] * 3
        await taker.ack(got)
        await taker.ack(await _received(taker, [others], 3))


async def test_no_more_than_the_limit_is_received(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        one, other = new_id(), new_id()
        await giver.publish([*_tickets(one, 10), *_tickets(other, 10)])
        await _eventually(lambda: taker.depth([one, other]), {one: 10, other: 10})

        for limit in (1, 2, 5):
            got = await taker.receive([one, other], limit, _SOON_S)
            assert 1 <= len(got) <= limit
            await taker.ack(got)


async def test_a_waiting_receive_hears_of_a_ticket_soon(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        queue = new_id()
        await giver.publish(_tickets(queue, 1))
        await taker.ack(await _received(taker, [queue], 1))  # what a first call has to set up
        clock = asyncio.get_running_loop()
        waiting = asyncio.create_task(taker.receive([new_id(), queue], 10, 30.0))
        await asyncio.sleep(0.3)

        published = clock.time()
        await giver.publish(_tickets(queue, 1))
        got = await waiting

        assert len(got) == 1
        assert clock.time() - published < 2.0
        await taker.ack(got)


async def test_a_receive_ends_after_its_time_with_nothing(house: House) -> None:
    async with _opened(house) as taker:
        queue, clock = new_id(), asyncio.get_running_loop()
        await taker.receive([queue], 1, 0.1)  # as above
        began = clock.time()

        got = await taker.receive([queue], 10, 0.5)

        assert list(got) == []
        assert 0.4 < clock.time() - began < 2.0


async def test_what_is_settled_never_comes_again(house: House) -> None:
    queue = new_id()
    async with _opened(house) as giver:
        tickets = _tickets(queue, 6)
        await giver.publish(tickets)
        async with _opened(house) as first:
            got = await _received(first, [queue], 6)
            await first.ack(got[:4])

        async with _opened(house) as second:
            rest = await _received(second, [queue], 2, house.within_s + _SOON_S)
            rest += await second.receive([queue], 10, 0.3)

            assert set(_ids(rest)) == set(_ids(got[4:]))
            await second.ack(rest)


async def test_what_a_closed_holder_had_in_hand_comes_to_another(house: House) -> None:
    queue = new_id()
    async with _opened(house) as second:
        first = await house.open()
        tickets = _tickets(queue, 5)
        await first.publish(tickets)
        await _received(first, [queue], 5)
        await first.close()

        got = await _received(second, [queue], 5, house.within_s + _SOON_S)

        assert _ids(got) == _ids(tickets)
        await second.ack(got)


async def test_what_a_dead_holder_had_in_hand_comes_to_another(house: House) -> None:
    queue = new_id()
    async with _opened(house) as second:
        first = await house.open()
        tickets = _tickets(queue, 5)
        await first.publish(tickets)
        await _received(first, [queue], 5)
        await house.die(first)

        got = await _received(second, [queue], 5, house.within_s + _SOON_S)

        assert _ids(got) == _ids(tickets)
        await second.ack(got)


async def test_a_ticket_published_again_comes_again(house: House) -> None:
    async with _opened(house) as broker:
        ticket = Ticket(new_id(), new_id())
        for _ in range(3):
            await broker.publish([ticket])
            got = await _received(broker, [ticket.queue], 1)
            await broker.ack(got)

        # Nor are those swallowed that wait together.
        await broker.publish([ticket, ticket])
        await _eventually(lambda: broker.depth([ticket.queue]), {ticket.queue: 2})
        await _drained(broker, ticket.queue)


async def _drained(broker: Broker, queue: str) -> None:
    while (await broker.depth([queue]))[queue]:
        await broker.ack(await broker.receive([queue], 100, 0.2))


async def test_depth_counts_what_waits_and_what_is_in_hand(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        queue, other = new_id(), new_id()
        await giver.publish(_tickets(queue, 7))
        await _eventually(lambda: giver.depth([queue, other]), {queue: 7, other: 0})

        got = await _received(taker, [queue], 3, limit=3)
        unseen = 0 if house.sees_hands else len(got)
        await _eventually(lambda: taker.depth([queue]), {queue: 7})
        await _eventually(lambda: giver.depth([queue]), {queue: 7 - unseen})
        await taker.ack(got[:3])

        await _eventually(
            lambda: giver.depth([queue]), {queue: 4 if house.sees_hands else 7 - unseen}
        )
        await _drained(taker, queue)


async def test_junk_is_dropped_and_harms_nobody(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        queue = new_id()
        first, second = _tickets(queue, 2)
        await giver.publish([first])
        for message in JUNK:
            await house.plant(queue, message)
        await giver.publish([second])

        got = await _received(taker, [queue], 2, 2 * _SOON_S, limit=3)
        await taker.ack(got)

        assert _ids(got) == _ids([first, second])
        assert list(await taker.receive([queue], 100, 0.3)) == []
        await _eventually(lambda: taker.depth([queue]), {queue: 0})


async def test_a_wiped_broker_works_on(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        queue = new_id()
        await giver.publish(_tickets(queue, 5))
        held = await _received(taker, [queue], 2, limit=2)
        await house.wipe()

        await taker.ack(held)  # of what is not there any more
        await _eventually(lambda: giver.depth([queue]), {queue: 0})
        again = _tickets(queue, 3)
        await giver.publish(again)
        got = await _received(taker, [queue], 3, 2 * _SOON_S)

        assert _ids(got) == _ids(again)
        await taker.ack(got)


async def test_odd_names_are_names_and_stay_apart(house: House) -> None:
    async with _opened(house) as giver, _opened(house) as taker:
        mark = new_id()[-6:]  # the server may be one that other laws use
        names = {name if len(name) == 200 else f"{name}{mark}": new_id() for name in ODD}
        await giver.publish([Ticket(name, job_id) for name, job_id in names.items()])

        for name, job_id in names.items():
            got = await _received(taker, [name], 1)
            assert [(one.queue, one.job_id) for one in got] == [(name, job_id)]
            await taker.ack(got)

        assert set((await taker.depth(list(names))).values()) <= {0}


async def test_consumers_share_and_lose_nothing(house: House) -> None:
    queue, seen = new_id(), Counter[str]()
    tickets = _tickets(queue, 200)

    async def consume() -> None:
        clock = asyncio.get_running_loop()
        until = clock.time() + house.within_s + 4 * _SOON_S
        async with _opened(house) as taker:
            while len(seen) < len(tickets) and clock.time() < until:
                got = await taker.receive([queue], 7, 0.2)
                seen.update(one.job_id for one in got)
                await taker.ack(got)

    async with _opened(house) as giver:
        consumers = [asyncio.create_task(consume()) for _ in range(2)]
        for start in range(0, 200, 20):
            await giver.publish(tickets[start : start + 20])
        await asyncio.gather(*consumers)

    assert sorted(seen) == _ids(tickets)


async def test_a_cancelled_receive_keeps_nothing_for_good(house: House) -> None:
    queue, tickets = new_id(), []
    async with _opened(house) as giver:
        async with _opened(house) as taker:
            for steps in range(12):
                waiting = asyncio.create_task(taker.receive([queue], 1, _SOON_S))
                tickets += _tickets(queue, 1)
                await giver.publish(tickets[-1:])
                for _ in range(steps):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

        async with _opened(house) as other:
            got = await _received(other, [queue], 12, house.within_s + _SOON_S)

            assert _ids(got) == _ids(tickets)
            await other.ack(got)


async def test_nothing_to_do_is_done(house: House) -> None:
    async with _opened(house) as broker:
        await broker.publish([])
        await broker.ack([])

        assert await broker.depth([]) == {}
        queue = new_id()
        assert await broker.depth([queue]) == {queue: 0}


async def test_facts_are_text(house: House) -> None:
    async with _opened(house) as broker:
        facts = await broker.check([new_id()])

    assert facts
    assert all(isinstance(text, str) for pair in facts.items() for text in pair)


async def test_a_closed_broker_leaves_no_task(house: House) -> None:
    before = asyncio.all_tasks()
    broker, queue = await house.open(), new_id()
    await broker.publish(_tickets(queue, 2))
    await broker.ack(await _received(broker, [queue], 2))
    waiting = asyncio.create_task(broker.receive([queue], 1, 30.0))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await broker.close()
    await broker.close()

    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
