"""A connection to RabbitMQ that is made when it is needed, and made again when it broke."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from aiormq.channel import Channel
from aiormq.connection import Connection, TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from outlast.core.errors import InvalidInputError, UnavailableError

ANSWER_S: Final = 5.0
_CLOSE_S: Final = 2.0
_HEARTBEAT_S: Final = 10
_SAID_CHARS: Final = 200
_OPTIONS: Final = frozenset({"cafile", "capath", "certfile", "keyfile", "no_verify_ssl"})

# Whatever it complains of comes to us as an error, and is told once by who made the call.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class _Transport(TransportFactory):
    """Keeps the socket, so that a connection that hangs can be cut."""

    def __init__(self, *, tls: bool) -> None:
        self._inner = TLSTransportFactory() if tls else TCPTransportFactory()
        self.writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self.writer = await self._inner.create(url, **kwargs)
        return reader, self.writer


class Link:
    """One connection at a time, and channels by what they are for."""

    def __init__(self, url: URL, shown: str) -> None:
        self._url = url
        self._shown = shown
        self._connection: Connection | None = None
        self._transport = _Transport(tls=False)
        self._channels: dict[str, Channel] = {}
        self._lock = asyncio.Lock()
        self._opening = asyncio.Lock()
        self.declaring = asyncio.Lock()
        """Held while a queue is asked for: the server closes a channel that asks wrongly."""

    async def connection(self) -> Connection:
        """Return the connection, and make one first if there is none that lives."""
        async with self._lock:
            if self._connection is None or not self._connection.is_opened:
                await self._end()
                self._transport = _Transport(tls=self._url.scheme == "amqps")
                connection = Connection(self._url, transport_factory=self._transport)
                await connection.connect()
                self._connection = connection
            return self._connection

    async def channel(self, purpose: str, *, confirms: bool = False) -> Channel:
        """Return the channel for a purpose, and open it first if need be."""
        async with self._opening:
            connection = await self.connection()
            channel = self._channels.get(purpose)
            if channel is None or channel.is_closed or channel.connection is not connection:
                opened = await connection.channel(publisher_confirms=confirms)
                channel = cast("Channel", opened)
                self._channels[purpose] = channel
            return channel

    def forget(self, purpose: str) -> None:
        """Take a new channel for it at the next call: the server has closed this one."""
        self._channels.pop(purpose, None)

    async def is_blocked(self) -> bool:
        """Whether the server has said that it takes no messages now."""
        if self._connection is None or not self._connection.is_opened:
            return False
        try:
            async with asyncio.timeout(0.01):
                await self._connection.ready()
        except TimeoutError:
            return True
        return False

    def cut(self) -> None:
        """End the connection without a word, as it may be that nobody listens."""
        if self._transport.writer is not None:
            self._transport.writer.transport.abort()

    async def close(self) -> None:
        """End the connection, politely if that is quick."""
        async with self._lock:
            await self._end()

    async def _end(self) -> None:
        connection, self._connection = self._connection, None
        self._channels.clear()
        if connection is None:
            return
        with suppress(AMQPError, OSError, RuntimeError, asyncio.CancelledError):
            await connection.close(timeout=_CLOSE_S)
        self.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.wait([connection.closing])

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Let nobody wait for an answer for ever, and no error of the driver's out."""
        try:
            async with asyncio.timeout(ANSWER_S):
                yield
        except TimeoutError as error:
            if await self.is_blocked():
                raise UnavailableError(
                    f"broker {self._shown}: expected room for a ticket, it takes none now",
                    hint="it is short of memory or disk: see rabbitmqctl status",
                ) from error
            self.cut()
            raise refusal(self._shown, error) from error
        except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
            raise refusal(self._shown, error) from error


def refusal(broker: str, error: Exception) -> UnavailableError:
    """Say why a broker, called by its URL without a password, did not do what it was asked."""
    said = f"it said {str(error)[:_SAID_CHARS]!r}"
    match error:
        case ProbableAuthenticationError() | AuthenticationError():
            what, hint = f"a user and password that it accepts, {said}", "correct the broker's URL"
        case ChannelNotFoundEntity():
            what = f"a queue that is there or may be made, {said}"
            hint = "let the user configure, write and read outlast.*"
        case InvalidFrameError() if "Connection.Close" in said:  # in place of a welcome
            what, hint = f"a virtual host of this user's, {said}", "correct the broker's URL"
        case DeliveryError():
            what, hint = f"room for a ticket, {said}", "see the policies of the queues outlast.*"
        case TimeoutError():
            what, hint = "an answer in time, got none", "see whether it is up and within reach"
        case _:
            what, hint = f"a server that answers, {said}", "see whether it is up and within reach"
    return UnavailableError(f"broker {broker}: expected {what}", hint=hint)


def parsed(url: str) -> URL:
    """Read a URL; what is wrong is said without it."""
    unknown = [name for name, _ in parse_qsl(urlsplit(url).query) if name not in _OPTIONS]
    if unknown:
        raise InvalidInputError(
            f"broker: expected options of {', '.join(sorted(_OPTIONS))}, got {unknown[0]!r:.50}",
            hint="take it out of the broker's URL",
        )
    read = None
    with suppress(ValueError):  # which may tell a part of the password
        read = URL(url)
    if read is None or not read.host:
        raise InvalidInputError(
            "broker: expected amqp://user:password@host:port/vhost, got what can't be read",
            hint="write special characters of the password as %40, %2F, %3A and so on",
        )
    return read.update_query(heartbeat=_HEARTBEAT_S, name="outlast")
