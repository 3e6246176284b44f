"""Message queues that carry tickets to workers; without one, workers ask the ledger itself."""

from importlib import import_module
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from outlast.broker.protocol import Broker, Delivery, Ticket
from outlast.core.errors import CapabilityError, InvalidInputError

__all__ = ["Broker", "Delivery", "Ticket", "check_broker", "open_broker", "shown"]


class _Home(NamedTuple):
    """Where a kind of broker lives, and the extra of ours that brings its client."""

    module: str
    opener: str  # takes the URL
    extra: str = ""


_HOMES: Final = {
    "memory": _Home("outlast.broker.memory", "MemoryBroker"),
    **dict.fromkeys(
        ("amqp", "amqps"), _Home("outlast.broker.rabbitmq", "RabbitBroker", "rabbitmq")
    ),
    "kafka": _Home("outlast.broker.kafka", "KafkaBroker", "kafka"),
    "sqs": _Home("outlast.broker.sqs", "SqsBroker", "sqs"),
    **dict.fromkeys(
        ("redis", "rediss", "valkey", "valkeys", "unix"),
        _Home("outlast.broker.redis", "RedisBroker", "redis"),
    ),
}


def check_broker(url: str) -> None:
    """Raise InvalidInputError when a URL is of no known kind of broker; it tells no password."""
    if _scheme(url) not in _HOMES:
        known = ", ".join(f"{scheme}://" for scheme in _HOMES)
        raise InvalidInputError(
            f"broker: expected a URL that starts with one of {known}, got {shown(url)!r:.100}",
            hint="leave it out, or say ledger, to do without a broker",
        )


def open_broker(url: str) -> Broker:
    """Open the broker that a URL names; nothing is connected yet.

    Raises InvalidInputError when it is of no known kind, and CapabilityError when its client is
    not installed. Neither tells a password.
    """
    check_broker(url)
    home = _HOMES[_scheme(url)]
    try:
        opener = getattr(import_module(home.module), home.opener)
    except ImportError as error:
        raise CapabilityError(
            f"broker: {_scheme(url)}:// needs a client that is not installed",
            hint=f'pip install "outlast[{home.extra}]"',
        ) from error
    broker: Broker = opener(url)
    return broker


def shown(url: str) -> str:
    """Return a broker's URL as it may be shown: without a password, and without its options.

    >>> shown("redis://ann:secret@cache.test:6379/1?token=x"), shown("secret")
    ('redis://ann@cache.test:6379/1', '…')
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{_scheme(url)}://…"
    if not parts.scheme or "://" not in url:
        return "…"  # who knows what it is
    credentials, _, host = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{parts.scheme}://{user}{'@' if user else ''}{host}{parts.path}"


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower() if "://" in url else ""
