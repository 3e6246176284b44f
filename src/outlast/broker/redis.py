"""Tickets in Redis or Valkey: a list of those that wait, and a sorted set of those in hands.

Whatever moves a ticket is one script, so none is ever between two places. A pop that blocks takes
only wake-ups, never a ticket: whoever dies or is cancelled while it waits loses nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from itertools import count
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from outlast.broker import redis_facts, shown
from outlast.broker.message import BYTES_MAX, packed, unpacked
from outlast.broker.protocol import Delivery, Ticket
from outlast.broker.redis_facts import is_replica, refusal
from outlast.core.errors import InvalidInputError, UnavailableError
from outlast.core.limits import SECOND
from outlast.system import new_id

HELD_S: Final = 5
"""For how long a ticket stays in the hands of one that is not heard of; a claim takes far less."""
_ANSWER_S: Final = 5.0
_LOOK_S: Final = 1.0  # what dead holders had is looked for so often, and a lost wake-up made up for
_PAUSE_MIN_S: Final = 0.01  # less than a millisecond is for ever to an older server
_TICKETS_MAX: Final = 500  # in one script
_CONNECTIONS_MAX: Final = 16
_SCHEMES: Final = {"valkey": "redis", "valkeys": "rediss"}
_OPTIONS: Final = frozenset(
    {"db", "ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_cert_reqs", "ssl_keyfile"}
)


class RedisBroker:
    """Tickets in one database of Redis 6 or newer, or of Valkey."""

    def __init__(self, url: str) -> None:
        self._shown = shown(url)
        self._pool = BlockingConnectionPool(
            max_connections=_CONNECTIONS_MAX,
            timeout=_ANSWER_S,
            # A connection may have died since it was last used: try a fresh one, and no more.
            retry=Retry(NoBackoff(), 1),
            socket_connect_timeout=_ANSWER_S,
            socket_timeout=None,  # each call has a bound of its own
            protocol=2,
            **_parsed(url),
        )
        self._client = Redis(connection_pool=self._pool)
        ring = _script("ring")
        self._publish, self._take, self._put_back = (
            self._client.register_script(ring + _script(name))
            for name in ("publish", "take", "put_back")
        )
        self._held: dict[bytes, str] = {}  # queues by receipts
        self._calls = (f"{new_id()}.{number}" for number in count())
        self._returning: set[asyncio.Task[None]] = set()

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        for start in range(0, len(tickets), _TICKETS_MAX):
            chunk = tickets[start : start + _TICKETS_MAX]
            numbers = _numbers(ticket.queue for ticket in chunk)
            pairs = [part for one in chunk for part in (numbers[one.queue], packed(one))]
            async with self._bounded():
                await self._publish(keys=_keys(numbers), args=pairs)

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop()
        until = clock.time() + timeout
        while True:
            found = await self._taken(queues, limit)
            rest = until - clock.time()
            if found or rest <= 0:
                return found
            pause = min(max(rest, _PAUSE_MIN_S), _LOOK_S)
            async with self._bounded(pause):
                await self._client.blpop([_wake_key(queue) for queue in queues], pause)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        receipts = defaultdict[str, list[bytes]](list)
        for delivery in deliveries:
            receipt = cast("bytes", delivery.receipt)
            receipts[delivery.queue].append(receipt)
            self._held.pop(receipt, None)
        if receipts:
            async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
                for queue, ours in receipts.items():
                    pipe.zrem(_held_key(queue), *ours)
                await pipe.execute()

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        if not queues:
            return {}
        async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(_waiting_key(queue))
                pipe.zcard(_held_key(queue))
            counts = await pipe.execute()
        return {queue: sum(counts[2 * i : 2 * i + 2]) for i, queue in enumerate(queues)}

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        async with self._bounded():
            return await redis_facts.facts(self._client)

    async def close(self) -> None:
        if self._returning:
            await asyncio.wait(self._returning)
        with suppress(UnavailableError):  # they come to others when their time is over
            await self._back(dict(self._held))
        with suppress(RedisError, OSError):
            await self._client.aclose()
            await self._pool.disconnect()

    async def _taken(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Take what there is; when cancelled meanwhile, give it back."""
        taking = asyncio.create_task(self._take_now(queues, limit))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            returning = asyncio.create_task(self._returned(taking))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            raise

    async def _take_now(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Ask until something but junk came, or nothing."""
        while True:
            async with self._bounded():
                answer = await self._take(
                    keys=_keys(queues),
                    args=[limit, HELD_S * SECOND, next(self._calls), BYTES_MAX],
                )
            found: list[Delivery] = []
            junk: list[Delivery] = []
            for number, receipt in zip(answer[::2], answer[1::2], strict=True):
                queue = queues[number - 1]
                ticket = unpacked(receipt.partition(b" ")[2])
                good = ticket is not None and ticket.queue == queue
                (found if good else junk).append(
                    Delivery(queue, ticket.job_id if ticket else "", receipt)
                )
            self._held |= {cast("bytes", one.receipt): one.queue for one in found}
            await self.ack(junk)
            if found or not junk:
                return found

    async def _returned(self, taking: asyncio.Task[list[Delivery]]) -> None:
        """Give back what a cancelled receive has taken."""
        with suppress(UnavailableError):
            found = await taking
            await self._back({cast("bytes", one.receipt): one.queue for one in found})

    async def _back(self, held: dict[bytes, str]) -> None:
        """Put tickets in hands where they came from, and wake somebody for them."""
        for receipt in held:
            self._held.pop(receipt, None)
        if held:
            numbers = _numbers(held.values())
            pairs = [part for one, queue in held.items() for part in (numbers[queue], one)]
            async with self._bounded():
                await self._put_back(keys=_keys(numbers), args=pairs)

    @asynccontextmanager
    async def _bounded(self, beyond: float = 0.0) -> AsyncIterator[None]:
        """Let nobody wait for an answer for ever, and no error of the driver's out."""
        try:
            async with asyncio.timeout(_ANSWER_S + beyond):
                yield
        except (RedisError, OSError) as error:
            if is_replica(error):  # where the primary is now, only a new connection finds out
                await self._pool.disconnect(inuse_connections=False)
            raise refusal(self._shown, error) from error


def _parsed(url: str) -> dict[str, Any]:
    """Read a URL as arguments of a connection; what is wrong is said without it."""
    scheme, _, rest = url.partition("://")
    unknown = [name for name, _ in parse_qsl(urlsplit(url).query) if name not in _OPTIONS]
    if unknown:
        raise InvalidInputError(
            f"broker: expected options of {', '.join(sorted(_OPTIONS))}, got {unknown[0]!r:.50}",
            hint="take it out of the broker's URL",
        )
    try:
        return dict(parse_url(f"{_SCHEMES.get(scheme.lower(), scheme.lower())}://{rest}"))
    except ValueError:
        # What the parser says may hold a part of the password.
        raise InvalidInputError(
            f"broker: expected {scheme}://user:password@host:port/number, got what can't be read",
            hint="write special characters of the password as %40, %2F, %3A and so on",
        ) from None


def _script(name: str) -> str:
    return (files("outlast.broker") / "lua" / f"{name}.lua").read_text("utf-8")


def _numbers(queues: Iterable[str]) -> dict[str, int]:
    """Return numbers from 1 on, by which a script knows its queues."""
    return {queue: number for number, queue in enumerate(dict.fromkeys(queues), 1)}


def _waiting_key(queue: str) -> str:
    return f"outlast:waiting:{queue}"


def _wake_key(queue: str) -> str:
    return f"outlast:wake:{queue}"


def _held_key(queue: str) -> str:
    return f"outlast:held:{queue}"


def _keys(queues: Iterable[str]) -> list[str]:
    """Return the keys of queues as the scripts take them."""
    return [key(queue) for queue in queues for key in (_waiting_key, _wake_key, _held_key)]
