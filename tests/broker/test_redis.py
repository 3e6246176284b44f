"""What a Redis may do to us beyond the laws: hang, die, fill up, refuse, and be told about."""

import asyncio
import os
import signal

import pytest

from outlast.broker import open_broker, redis
from outlast.broker.protocol import Ticket
from outlast.broker.redis import RedisBroker
from outlast.core.errors import CapabilityError, InvalidInputError, UnavailableError
from outlast.system import new_id
from outlast.testing import broker_laws as laws
from outlast.testing.redis import private_redis
from outlast.testing.servers import free_port
from tests.broker.redis_house import RedisHouse
from tests.conftest import needs_server

BOUND_S = 8.0  # five for an answer, and what a busy machine takes


@pytest.fixture
def house():
    """A server for one test, which may do what it likes to it."""
    try:
        server = private_redis()
        with server as running:
            yield RedisHouse(running)
    except CapabilityError as error:
        needs_server("redis", error)


@pytest.fixture
async def broker(house):
    broker = await house.open()
    yield broker
    await broker.close()


def tickets(queue, count):
    return [Ticket(queue, new_id()) for _ in range(count)]


async def until_it_works(call):
    """Call until the broker is available again."""
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                return await call()
            except UnavailableError:
                pass


async def refused(call, says):
    """Return what a call is refused with, which has to come in a bounded time."""
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(UnavailableError, match=says) as refusal:
            await call
    assert "hunter2" not in str(refusal.value)


@pytest.mark.fault("F22")
async def test_a_server_that_hangs_is_given_up_in_time_and_found_again(house, broker):
    await broker.publish(tickets("mail", 1))
    os.kill(house.server.pid, signal.SIGSTOP)

    try:
        for call in (
            broker.publish(tickets("mail", 1)),
            broker.receive(["mail"], 1, 1.0),
            broker.depth(["mail"]),
        ):
            await refused(call, "expected an answer in time")
    finally:
        os.kill(house.server.pid, signal.SIGCONT)

    assert await until_it_works(lambda: broker.receive(["mail"], 1, 1.0))


@pytest.mark.fault("F21")
async def test_a_server_that_was_killed_is_found_again_by_a_receive_that_waits(house, broker):
    await broker.publish([])
    waiting = asyncio.create_task(broker.receive(["mail"], 1, 30.0))
    await broker.depth(["mail"])
    await asyncio.to_thread(house.server.stop, signal.SIGKILL)

    await refused(waiting, "expected a server that answers")
    await refused(broker.publish(tickets("mail", 1)), "see whether it is up")
    await asyncio.to_thread(house.server.start)

    await broker.publish(tickets("mail", 1))
    assert len(await broker.receive(["mail"], 1, 1.0)) == 1


@pytest.mark.fault("F21")
async def test_a_wipe_under_a_waiting_receive_does_not_deafen_it(house, broker):
    other = await house.open()
    await broker.publish(tickets("mail", 1))
    await broker.ack(await broker.receive(["mail"], 1, 1.0))
    waiting = asyncio.create_task(broker.receive(["mail"], 1, 30.0))
    while b"cmd=blpop" not in await house.ask("CLIENT", "LIST"):
        assert not waiting.done()

    await house.wipe()
    await other.publish(tickets("mail", 1))

    async with asyncio.timeout(BOUND_S):
        assert len(await waiting) == 1
    await other.close()


@pytest.mark.fault("F23")
async def test_a_full_server_refuses_tickets_in_time_and_gives_what_it_has(house, broker):
    await broker.publish(tickets("mail", 5_000))
    await house.ask("CONFIG", "SET", "maxmemory", "1mb")

    await refused(broker.publish(tickets("mail", 1)), "expected room for a ticket")

    got = await broker.receive(["mail"], 100, 1.0)
    await broker.ack(got)
    assert len(got) == 100
    await house.ask("CONFIG", "SET", "maxmemory", "0")
    await broker.publish(tickets("mail", 1))


@pytest.mark.fault("F24")
async def test_a_server_that_may_evict_tickets_is_warned_of(house, broker):
    await house.ask("CONFIG", "SET", "maxmemory", "100mb")
    await house.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    assert (await broker.check([]))["eviction"].startswith("warning: maxmemory-policy is allkeys")


@pytest.mark.fault("F24")
async def test_evicted_keys_deafen_nobody(house, broker):
    await broker.publish(tickets("mail", 5))
    held = await broker.receive(["mail"], 2, 1.0)
    for kind in ("waiting", "wake", "held"):
        await house.ask("DEL", f"outlast:{kind}:mail")

    await broker.ack(held)
    await broker.publish(tickets("mail", 1))

    assert len(await broker.receive(["mail"], 9, 1.0)) == 1


async def test_a_server_that_keeps_nothing_is_warned_of(house, broker):
    await house.ask("CONFIG", "SET", "appendonly", "no")

    assert (await broker.check([]))["persistence"].startswith("warning: none")


async def test_a_server_that_is_well_is_no_cause_for_a_warning(broker):
    facts = await broker.check(["mail"])

    assert facts["server"].startswith(("Redis ", "Valkey "))
    assert not [text for text in facts.values() if text.startswith("warning")]


async def test_a_replica_is_said_to_be_one(house, broker):
    await house.ask("REPLICAOF", "127.0.0.1", str(free_port()))

    await refused(broker.publish(tickets("mail", 1)), "expected a primary")


@pytest.mark.parametrize("who", ["ann:hunter2@", ":hunter2@", ""])
async def test_a_wrong_password_is_said_and_not_told(house, who):
    await house.ask("CONFIG", "SET", "requirepass", "correct")
    broker = open_broker(house.server.url.replace("//", f"//{who}"))

    await refused(broker.publish(tickets("mail", 1)), "expected a user and password that it acc")

    await broker.close()


async def test_a_user_without_rights_is_told_which_to_have(house):
    await house.ask("ACL", "SETUSER", "ann", "on", ">hunter2", "~outlast:*", "+@connection")
    broker = open_broker(house.server.url.replace("//", "//ann:hunter2@"))

    await refused(broker.publish(tickets("mail", 1)), r"grant ~outlast:\*")
    await house.ask(
        "ACL", "SETUSER", "ann", "+@list", "+@sortedset", "+@scripting", "+del", "+time"
    )

    await broker.publish(tickets("mail", 1))
    await broker.ack(await broker.receive(["mail"], 1, 1.0))
    assert await broker.depth(["mail"]) == {"mail": 0}
    await broker.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://ann:hunter2@cache.test?socket_timeout=1", "got 'socket_timeout'"),
        ("redis://ann:hunter2#@cache.test", "got what can't be read"),
        ("rediss://cache.test:hunter2", "got what can't be read"),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_its_password(url, says):
    with pytest.raises(InvalidInputError, match=says) as refusal:
        open_broker(url)

    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "kind", "arguments"),
    [
        ("valkey://ann:a%40b@v.test:7000/3", "Connection", {"password": "a@b", "db": 3}),
        ("VALKEYS://v.test", "SSLConnection", {"host": "v.test"}),
        ("rediss://v.test?ssl_ca_certs=/ca.pem", "SSLConnection", {"ssl_ca_certs": "/ca.pem"}),
        ("unix:///run/valkey.sock?db=2", "UnixDomainSocketConnection", {"db": 2}),
    ],
)
async def test_a_url_says_all_that_a_connection_needs(url, kind, arguments):
    pool = open_broker(url)._pool

    assert pool.connection_class.__name__ == kind
    assert arguments.items() <= pool.connection_kwargs.items()


async def test_what_nobody_settles_for_an_hour_would_break_the_law(house, monkeypatch):
    monkeypatch.setattr(redis, "HELD_S", 3_600)
    monkeypatch.setattr(laws, "_SOON_S", 1.0)

    with pytest.raises(AssertionError):
        await laws.test_what_a_dead_holder_had_in_hand_comes_to_another(house)


async def test_without_wake_ups_a_receive_would_hear_too_late(house, monkeypatch):
    class Silent(RedisBroker):
        def __init__(self, url):
            super().__init__(url)
            mute = "local function ring() end\n"
            self._publish = self._client.register_script(mute + redis._script("publish"))

    monkeypatch.setattr(redis, "_LOOK_S", 4.0)
    house._kind = Silent

    with pytest.raises(AssertionError):
        await laws.test_a_waiting_receive_hears_of_a_ticket_soon(house)


async def test_a_pop_of_the_tickets_themselves_would_lose_what_is_cancelled(house, monkeypatch):
    class Popping(RedisBroker):
        async def _take_now(self, queues, limit):
            await self._client.blpop([redis._waiting_key(queue) for queue in queues], 1)
            return []

    house._kind = Popping
    house.within_s = 0.1
    monkeypatch.setattr(laws, "_SOON_S", 1.0)

    with pytest.raises(AssertionError):
        await laws.test_a_cancelled_receive_keeps_nothing_for_good(house)
