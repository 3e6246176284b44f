"""What SQS does beyond the laws: it hangs, goes, is emptied, refuses; and is told in a sentence."""

import asyncio
import os
import signal
import tempfile
from contextlib import asynccontextmanager, suppress

import pytest

from outlast.broker import open_broker
from outlast.broker.protocol import Ticket
from outlast.broker.sqs import SqsBroker
from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.system import new_id
from outlast.testing import broker_laws as laws
from outlast.testing.servers import free_port
from outlast.testing.sqs import KEYS, private_sqs
from tests.broker.sqs_house import SqsHouse, client_of

SOON_S = 8.0


@pytest.fixture
def own(sqs):
    """A server that a test may harm."""
    with private_sqs() as server:
        yield server


@asynccontextmanager
async def opened(url, kind=open_broker):
    broker = kind(url)
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


async def received(broker, queue, within_s=SOON_S):
    """Receive one ticket, whatever is refused until then; settle it, and return its job's ID."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                got = await broker.receive([queue], 1, 1.0)
            except UnavailableError:
                await pause()
                continue
            if got:
                await broker.ack(got)
                return got[0].job_id


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqs://", "expects a region"),
        ("sqs://key:hunter2@eu-central-1/x", "expects a region and no credentials"),
        ("sqs://eu-central-1/a_b", "expects a prefix"),
        ("sqs://eu-central-1/a/b", "expects a prefix"),
        ("sqs://eu-central-1/?endpoint=hunter2", "option endpoint: expected http"),
        ("sqs://eu-central-1/?fifo=hunter2", "option fifo: expected yes or no"),
        ("sqs://eu-central-1/?visibility=0", "option visibility: expected a whole number from 1"),
        ("sqs://eu-central-1/?visibility=hunter2", "option visibility: expected a whole number"),
        ("sqs://eu-central-1/?secret=hunter2", "has no option 'secret': expected one of create"),
    ],
)
def test_a_wrong_url_is_refused_in_a_sentence(url, said):
    with pytest.raises(InvalidInputError, match=said) as refusal:
        open_broker(url)

    assert "hunter2" not in str(refusal.value)


async def test_a_refused_connection_is_told_soon(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    async with opened(f"sqs://eu-central-1/x?endpoint=http://127.0.0.1:{free_port()}") as broker:
        for call in (
            broker.publish([Ticket("mail", "1")]),
            broker.receive(["mail"], 1, 30.0),
            broker.depth(["mail"]),
            broker.check(["mail"]),
        ):
            with pytest.raises(UnavailableError, match=r"did not answer .* check region"):
                await takes(SOON_S, call)


async def test_unknown_credentials_are_refused_in_a_sentence(sqs):
    with private_sqs(strict=True) as server:
        async with opened(server.url) as broker:
            with pytest.raises(UnavailableError, match=r"refused GetQueueUrl: .*credentials"):
                await broker.publish([Ticket("mail", "1")])


async def test_missing_credentials_are_named(own, monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", tempfile.gettempdir())

    async with opened(own.url) as broker:
        with pytest.raises(UnavailableError, match="no AWS credentials were found; set AWS_"):
            await broker.publish([Ticket("mail", "1")])


async def test_a_server_that_hangs_is_waited_for_a_bounded_time_only(own):
    async with opened(own.url) as broker:
        await broker.publish([Ticket("mail", "before")])
        got = await broker.receive(["mail"], 1, SOON_S)
        os.kill(own.pid, signal.SIGSTOP)
        try:
            assert await takes(2.0, broker.receive(["mail"], 1, 0.5)) == []
            calls = (
                broker.publish([Ticket("mail", "lost")]),
                broker.ack(got),
                broker.depth(["mail"]),
            )
            told = await takes(SOON_S, asyncio.gather(*calls, return_exceptions=True))
            assert [type(one) for one in told] == [UnavailableError] * 3
        finally:
            os.kill(own.pid, signal.SIGCONT)

        await broker.publish([Ticket("mail", "after")])
        while await received(broker, "mail") != "after":
            pass


async def test_a_hanging_server_delays_no_close(own):
    broker = open_broker(own.url)
    await broker.publish([Ticket("mail", "1")])
    await broker.receive(["mail"], 1, SOON_S)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        await takes(4.0, broker.close())
    finally:
        os.kill(own.pid, signal.SIGCONT)


async def test_after_a_restart_all_goes_on_by_itself(own):
    async with opened(own.url) as giver, opened(own.url) as taker:
        await giver.publish([Ticket("mail", "1")])
        assert await received(taker, "mail") == "1"
        own.stop(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            await takes(SOON_S, giver.publish([Ticket("mail", "2")]))
        own.start()  # without any queue: it kept them in memory

        await giver.publish([Ticket("mail", "3")])

        assert await received(taker, "mail") == "3"


async def test_a_purged_queue_is_an_empty_queue(sqs):
    queue = new_id()
    async with opened(sqs.url) as broker, client_of(sqs) as client:
        await broker.publish([Ticket(queue, str(n)) for n in range(30)])
        got = await broker.receive([queue], 1, SOON_S)
        url = await client.get_queue_url(QueueName=broker._name(queue))
        await client.purge_queue(QueueUrl=url["QueueUrl"])

        await broker.ack(got)

        assert await broker.depth([queue]) == {queue: 0}
        await broker.publish([Ticket(queue, "again")])
        assert await received(broker, queue) == "again"


async def test_queues_are_not_made_where_that_is_forbidden(sqs):
    queue = new_id()
    async with opened(f"{sqs.url}&create=no") as broker:
        for call in (broker.publish([Ticket(queue, "1")]), broker.receive([queue], 1, 1.0)):
            with pytest.raises(UnavailableError, match=r"has no queue outlast_.*; make it, or"):
                await call
        assert await broker.depth([queue]) == {queue: 0}
        facts = await broker.check([queue])
        assert facts[f"queue {queue}"].startswith("warning: there is no outlast_")

        async with opened(sqs.url) as maker:
            await maker.publish([Ticket(queue, "1")])
        await broker.publish([Ticket(queue, "2")])
        assert await broker.depth([queue]) == {queue: 2}


async def test_the_check_warns_of_what_loses_or_delays_tickets(sqs):
    good, bad = new_id(), new_id()
    async with opened(sqs.url) as broker, client_of(sqs) as client:
        await broker.publish([Ticket(good, "1"), Ticket(bad, "1")])
        dead = await client.create_queue(QueueName=f"dead-{bad}")
        arn = f"arn:aws:sqs:eu-central-1:123456789012:dead-{bad}"
        url = await client.get_queue_url(QueueName=broker._name(bad))
        await client.set_queue_attributes(
            QueueUrl=url["QueueUrl"],
            Attributes={
                "DelaySeconds": "9",
                "MessageRetentionPeriod": "60",
                "RedrivePolicy": f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"3"}}',
            },
        )
        facts = await broker.check([good, bad])
        await client.delete_queue(QueueUrl=dead["QueueUrl"])

    assert facts["kind"] == "sqs"
    assert facts["place"].startswith("eu-central-1 at 127.0.0.1:")
    assert facts[f"queue {good}"] == f"{broker._name(good)}, retention 345600 s"
    assert facts[f"queue {bad}"].startswith("warning: ")
    for word in ("DelaySeconds", "MessageRetentionPeriod", "RedrivePolicy"):
        assert word in facts[f"queue {bad}"]


async def spare_goes_back(server, kind):
    """Receive one ticket where two come at once; the other must soon be another's."""
    one, other, slow = new_id(), new_id(), server.url.replace("visibility=2", "visibility=60")
    async with opened(slow, kind) as taker, opened(slow) as second:
        await second.publish([Ticket(one, "1"), Ticket(other, "2")])
        first = await taker.receive([one, other], 1, SOON_S)
        rest = await received(second, other if first[0].queue == one else one, 4.0)

        assert {first[0].job_id, rest} == {"1", "2"}


async def test_what_came_beyond_the_limit_is_soon_anothers(sqs):
    await spare_goes_back(sqs, open_broker)


class KeepsTheSpare(SqsBroker):
    def _let_go(self):
        pass


async def test_a_broker_that_keeps_what_it_does_not_need_is_caught(sqs):
    with pytest.raises(TimeoutError):
        await spare_goes_back(sqs, KeepsTheSpare)


async def fifo_blocks_nobody(server, kind):
    queue, url = new_id(), f"{server.url}&fifo=1".replace("visibility=2", "visibility=60")
    async with opened(url, kind) as broker, opened(url, kind) as second:
        await broker.publish([Ticket(queue, "1"), Ticket(queue, "2")])
        (held,) = await broker.receive([queue], 1, SOON_S)

        assert await received(second, queue, 4.0) != held.job_id


async def test_an_unsettled_ticket_of_fifo_keeps_no_other_back(sqs):
    await fifo_blocks_nobody(sqs, open_broker)


class OneGroup(SqsBroker):
    async def publish(self, tickets):
        line = self._line.ask

        async def ask(call, **what):
            if call == "send_message_batch":
                what["Entries"] = [one | {"MessageGroupId": "all"} for one in what["Entries"]]
            return await line(call, **what)

        self._line.ask = ask
        await super().publish(tickets)


async def test_a_fifo_queue_with_one_group_is_caught(sqs):
    with pytest.raises(TimeoutError):
        await fifo_blocks_nobody(sqs, OneGroup)


class TrustsWhatItKnows(SqsBroker):
    async def _find(self, queue, *, make):
        self.known = getattr(self, "known", {})
        if queue not in self.known:
            self.known[queue] = await super()._find(queue, make=make)
        return self.known[queue]


async def test_a_broker_that_believes_a_deleted_queue_is_there_is_caught(own):
    house = SqsHouse(own, kind=TrustsWhatItKnows)

    with pytest.raises(UnavailableError):
        await laws.test_a_wiped_broker_works_on(house)
