"""Where a stream of events goes: the setting `events`, and what can be done with a topic."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from outlast.broker.address import Address, read_address
from outlast.core.errors import CapabilityError, InvalidInputError

_KAFKA: Final = frozenset({"ca", "cert", "key", "sasl", "tls", "create", "partitions", "replicas"})
_OWN: Final = frozenset({"from", "source", "also", "idempotent"})
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")
_STARTS: Final = ("now", "beginning")
_EXTRA_TYPES: Final = ("artifact", "log", "progress", "step")
_HINT: Final = "see docs/events.md"


class Message(NamedTuple):
    """One event on its way: messages with the same key stay in order."""

    key: bytes
    value: bytes


class Topic(Protocol):
    """A log that several groups of readers follow, each at its own pace."""

    async def open(self) -> None:
        """Connect, and make the topic where that is wanted; raise UnavailableError."""
        ...

    async def publish(self, messages: Sequence[Message], within_s: float) -> None:
        """Return once all are kept for good, those of one key in order; else raise.

        Raises UnavailableError, after which some may be there: open it, and send the same again.
        """
        ...

    async def facts(self) -> Mapping[str, str]:
        """Return what the topic is like, empty when it isn't there yet; raise UnavailableError."""
        ...

    async def close(self) -> None: ...


class StreamPlan(NamedTuple):
    """What the setting `events` says; the address may have a password and is never shown."""

    address: Address
    name: str  # of the topic
    begins_at: str  # now or beginning, where nobody has published before
    source: str  # the source of all events; empty: one that is made for the ledger
    also: frozenset[str]  # types of events that only go where they are asked for


def read_plan(url: str) -> StreamPlan:
    """Read the setting; raise InvalidInputError, which never tells a password.

    >>> read_plan("kafka://ann:secret@k1:9092,k2:9092/jobs?also=progress").name
    'jobs'
    """
    if url.partition("://")[0].lower() != "kafka":
        raise _refused("expected kafka://host:port/topic")
    try:
        address = read_address(url, _KAFKA | _OWN)
        address.flag("idempotent", default=True)
    except InvalidInputError as error:
        raise renamed(error) from error
    if not address.netloc.rpartition("@")[2] or not _NAME.fullmatch(address.path):
        raise _refused(
            "expected kafka://host:port/topic, with a topic of letters, digits, '.', '_' and '-'"
        )
    begins_at = address.text("from", "now")
    if begins_at not in _STARTS:
        raise _refused(f"kafka:// option from: expected one of {', '.join(_STARTS)}")
    also = frozenset(filter(None, address.text("also").split(",")))
    if not also <= set(_EXTRA_TYPES):
        raise _refused(f"kafka:// option also: expected some of {','.join(_EXTRA_TYPES)}")
    source = address.text("source")
    if any(not " " < char < "\x7f" for char in source):
        raise _refused("kafka:// option source: expected a URI without spaces")
    return StreamPlan(address, address.path, begins_at, source, also)


def open_topic(plan: StreamPlan) -> Topic:
    """Open the topic of a plan; nothing is connected yet.

    Raises CapabilityError when the client is not installed.
    """
    try:
        opener = import_module("outlast.broker.kafka_topic").KafkaTopic
    except ImportError as error:
        raise CapabilityError(
            "events: kafka:// needs a client that is not installed",
            hint='pip install "outlast[kafka]"',
        ) from error
    try:
        topic: Topic = opener(plan)
    except InvalidInputError as error:
        raise renamed(error) from error
    return topic


def shown(url: str) -> str:
    """Return the setting as it may be shown: without user, password and options.

    >>> shown("kafka://ann:secret@k1:9092/jobs?ca=x")
    'kafka://k1:9092/jobs'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "kafka://…"
    return f"kafka://{parts.netloc.rpartition('@')[2]}{parts.path}"


def renamed(error: InvalidInputError) -> InvalidInputError:
    """Say of the setting `events` what was said of a broker's URL."""
    return _refused(error.message.removeprefix("broker: "))


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(f"events: {what}", hint=_HINT)
