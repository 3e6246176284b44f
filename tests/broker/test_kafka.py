"""What Kafka does beyond the laws: it hangs, goes, loses topics, refuses; told in a sentence."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest
from aiokafka.admin import NewTopic

from outlast.broker import open_broker
from outlast.broker.kafka import KafkaBroker, _told_of
from outlast.broker.kafka_member import Member
from outlast.broker.protocol import Ticket
from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.system import new_id
from outlast.testing import broker_laws as laws
from outlast.testing.kafka import private_kafka
from outlast.testing.servers import free_port
from tests.broker.kafka_house import KafkaHouse, admin_of, delete_topics

SOON_S = 8.0


@pytest.fixture
def own(kafka):
    """A server that a test may harm."""
    with private_kafka() as server:
        yield server


@asynccontextmanager
async def opened(url):
    broker = open_broker(url)
    try:
        yield broker
    finally:
        await broker.close()


async def takes(seconds, what):
    """Await this; fail when it takes longer."""
    async with asyncio.timeout(seconds):
        return await what


async def pause():
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.05)


async def received(broker, queue, within_s=3 * SOON_S):
    """Receive one ticket, whatever is refused until then; settle it, and return its job's ID."""
    async with asyncio.timeout(within_s):
        while True:
            got = []
            with suppress(UnavailableError):
                got = await broker.receive([queue], 1, 1.0)
                await broker.ack(got)
            if got:
                return got[0].job_id
            await pause()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "expects kafka://host:port"),
        ("kafka://a:9092,/x", "expects kafka://host:port"),
        ("kafka://ann:hunter2@a:port/x", "expects kafka://host:port"),
        ("kafka://a/a_b", "expects a prefix"),
        ("kafka://a/a.b", "expects a prefix"),
        ("kafka://a/?sasl=hunter2", "option sasl: expected one of PLAIN, SCRAM"),
        ("kafka://a/?tls=hunter2", "option tls: expected yes or no"),
        ("kafka://a/?ca=/none/hunter2", "options ca, cert, key: FileNotFoundError"),
        ("kafka://a/?session=0", "option session: expected a whole number from 1"),
        ("kafka://a/?partitions=hunter2", "option partitions: expected a whole number"),
        ("kafka://a/?secret=hunter2", "has no option 'secret': expected one of batch"),
    ],
)
def test_a_wrong_url_is_refused_in_a_sentence(url, said):
    with pytest.raises(InvalidInputError, match=said) as refusal:
        open_broker(url)

    assert "hunter2" not in str(refusal.value)


async def test_a_refused_connection_is_told_soon():
    port = free_port()
    async with opened(f"kafka://ann:hunter2@127.0.0.1:{port}/x") as broker:
        for call in (
            broker.publish([Ticket("mail", "1")]),
            broker.receive(["mail"], 1, 30.0),
            broker.depth(["mail"]),
            broker.check(["mail"]),
        ):
            with pytest.raises(UnavailableError, match=rf"127.0.0.1:{port} did not") as refusal:
                await takes(SOON_S, call)
            assert "hunter2" not in str(refusal.value)


async def test_unknown_credentials_are_refused_in_a_sentence(kafka):
    with private_kafka("--authentication") as server:
        url = server.url.replace("//", "//ann:hunter2@") + "&sasl=SCRAM-SHA-256"
        async with opened(url) as broker:
            with pytest.raises(UnavailableError, match="check user, password and sasl") as refusal:
                await takes(SOON_S, broker.publish([Ticket("mail", "1")]))

    assert "hunter2" not in str(refusal.value)


async def test_a_server_that_hangs_is_waited_for_a_bounded_time_only(own):
    async with opened(own.url) as broker:
        await broker.publish([Ticket("mail", "before"), Ticket("mail", "before")])
        got = await broker.receive(["mail"], 1, SOON_S)
        os.kill(own.pid, signal.SIGSTOP)
        try:
            assert await takes(2.0, broker.receive(["post"], 1, 0.5)) == []
            told = await takes(
                2 * SOON_S,
                asyncio.gather(
                    broker.publish([Ticket("mail", "lost")]),
                    broker.ack(got),
                    broker.depth(["mail"]),
                    return_exceptions=True,
                ),
            )
            assert [type(one) for one in told] == [UnavailableError] * 3
        finally:
            os.kill(own.pid, signal.SIGCONT)

        async with asyncio.timeout(3 * SOON_S):
            while await received(broker, "mail") != "after":
                with suppress(UnavailableError):
                    await broker.publish([Ticket("mail", "after")])


async def test_a_hanging_server_delays_no_close(own):
    before = asyncio.all_tasks()
    broker = open_broker(own.url)
    await broker.publish([Ticket("mail", "1")])
    await broker.receive(["mail"], 1, SOON_S)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        await takes(SOON_S, broker.close())
        await pause()
    finally:
        os.kill(own.pid, signal.SIGCONT)

    assert asyncio.all_tasks() - before == set()


async def test_after_a_restart_all_goes_on_by_itself(own):
    async with opened(own.url) as giver, opened(own.url) as taker:
        await giver.publish([Ticket("mail", "1")])
        assert await received(taker, "mail") == "1"
        own.stop(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            await takes(SOON_S, giver.publish([Ticket("mail", "2")]))
        own.start()  # without any topic: it kept them in memory

        while True:
            with suppress(UnavailableError):
                await giver.publish([Ticket("mail", "3")])
                break
            await pause()

        assert await received(taker, "mail") in {"2", "3"}


async def test_a_deleted_topic_is_made_again_and_heard_by_who_waits(kafka):
    house, queue = KafkaHouse(kafka), new_id()
    async with opened(house.url) as giver, opened(house.url) as taker:
        await giver.publish([Ticket(queue, str(n)) for n in range(40)])
        for _ in range(40):
            await received(taker, queue)
        waiting = asyncio.create_task(received(taker, queue))
        assert await delete_topics(kafka, house.prefix)

        while not waiting.done():  # this server takes tickets of a deleted topic, or fails oddly
            with suppress(UnavailableError):
                await takes(SOON_S, giver.publish([Ticket(queue, "again")]))
            await asyncio.wait({waiting}, timeout=1.0)

        assert await waiting == "again"


async def test_topics_are_not_made_where_that_is_forbidden(kafka):
    house, queue = KafkaHouse(kafka), new_id()
    async with opened(f"{house.url}&create=no") as broker:
        for call in (broker.publish([Ticket(queue, "1")]), broker.receive([queue], 1, 5.0)):
            with pytest.raises(UnavailableError, match=r"has no topic .*; make it, or"):
                await call
        assert await broker.depth([queue]) == {queue: 0}
        facts = await broker.check([queue])
        assert facts[f"queue {queue}"].startswith(f"warning: there is no {house.prefix}.")

        async with admin_of(kafka) as admin:
            await admin.create_topics([NewTopic(broker._topic(queue), 2, 1)])
        await broker.publish([Ticket(queue, "2")])
        assert await received(broker, queue) == "2"
        assert "2 partitions" in (await broker.check([queue]))[f"queue {queue}"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"replicas": "1"}, "one replica"),
        ({"replicas": "3", "min.insync.replicas": "1"}, "set it to 2"),
        ({"replicas": "3", "min.insync.replicas": "3"}, "all there are"),
        ({"replicas": "3", "min.insync.replicas": "2", "retention.ms": "60000"}, "under an hour"),
        ({"replicas": "3", "min.insync.replicas": "2", "retention.ms": "604800000"}, None),
        ({"replicas": "3"}, None),
    ],
)
def test_the_check_warns_of_what_loses_or_refuses_tickets(facts, said):
    line = _told_of({"partitions": "8", **facts}, "outlast.mail", create=True)

    assert line.startswith("warning: ") == (said is not None)
    assert said is None or said in line


async def test_who_takes_nothing_for_long_leaves_its_partitions_to_others(kafka):
    house, queue = KafkaHouse(kafka, options="&max_poll=2&partitions=2"), new_id()
    async with opened(house.url) as busy, opened(house.url) as idle:
        await busy.publish([Ticket(queue, "first")])
        assert await received(busy, queue) == "first"  # and now it works for long

        got = set()
        async with asyncio.timeout(4 * SOON_S):
            while len(got) < 2:
                await busy.publish([Ticket(queue, "later")])
                got |= {one.receipt.place.partition for one in await idle.receive([queue], 9, 1.0)}

        assert got == {0, 1}


async def shares(house, within_s=3 * SOON_S):
    """Let three members of a long session take tickets until each has had one."""
    queue, takers = new_id(), set()
    async with opened(house.url) as giver, asyncio.timeout(within_s):

        async def take(number):
            async with opened(house.url) as broker:
                while len(takers) < 3:
                    got = await broker.receive([queue], 1, 0.5)
                    takers.update([number] if got else [])
                    await broker.ack(got)

        members = [asyncio.create_task(take(number)) for number in range(3)]
        try:
            while len(takers) < 3:
                await giver.publish([Ticket(queue, str(n)) for n in range(8)])
                await pause()
            await asyncio.gather(*members)
        finally:
            for member in members:
                member.cancel()
            await asyncio.gather(*members, return_exceptions=True)


async def test_members_of_a_long_session_share_the_tickets(kafka):
    await shares(KafkaHouse(kafka, options="&session=8"))


async def test_members_that_give_up_before_all_have_joined_are_caught(kafka, monkeypatch):
    monkeypatch.setattr("outlast.broker.kafka_member.ANSWER_S", -6.0)  # two seconds for a join

    with pytest.raises(TimeoutError):
        await shares(KafkaHouse(kafka, options="&session=8"), 14.0)


class CommitsWhatIsInHand(Member):
    async def settle(self, receipts):
        upto = {receipt.place: self._next[receipt.place] for receipt in receipts}
        if upto:
            await self._commit(self._consumer, upto)


async def test_a_broker_that_commits_what_is_in_hand_is_caught(kafka, monkeypatch):
    monkeypatch.setattr("outlast.broker.kafka.Member", CommitsWhatIsInHand)
    house = KafkaHouse(kafka, options="&partitions=1")

    with pytest.raises(AssertionError, match="expected 2 tickets"):
        await laws.test_what_is_settled_never_comes_again(house)


class HoldsTheFirstQueueOnly(KafkaBroker):
    async def receive(self, queues, limit, timeout):
        return await super().receive(queues[:1], limit, timeout)


async def test_a_broker_that_hears_one_topic_only_is_caught(kafka, monkeypatch):
    monkeypatch.setattr(laws, "_SOON_S", 2.0)

    with pytest.raises(AssertionError, match="expected 260 tickets"):
        await laws.test_many_tickets_of_several_queues_come_whole(
            KafkaHouse(kafka, kind=HoldsTheFirstQueueOnly)
        )
