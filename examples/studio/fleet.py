"""The ledgers and brokers that the demo can run on, each on a private server of its own."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple


class Places(NamedTuple):
    """Where the jobs are kept, and what tells workers of them."""

    ledger: str
    broker: str


LEDGERS: Final = ("sqlite", "postgres")
BROKERS: Final = ("ledger", "redis", "rabbitmq", "sqs", "kafka")


@contextmanager
def open_fleet(folder: Path, ledger: str, broker: str) -> Iterator[Places]:
    """Start the servers that these need, and stop them in the end."""
    with contextlib.ExitStack() as servers:
        ledger_url = f"sqlite:///{folder / 'outlast.db'}"
        if ledger == "postgres":
            ledger_url = servers.enter_context(_server("postgres")()).create("studio")
        broker_url = "ledger"
        if broker != "ledger":
            broker_url = servers.enter_context(_server(broker)()).url
        yield Places(ledger_url, broker_url)


def _server(name: str) -> Callable[[], AbstractContextManager[object]]:
    """Return what starts a private server; it says what to install where it can't."""
    start: Callable[[], AbstractContextManager[object]] = getattr(
        import_module(f"outlast.testing.{name}"), f"private_{name}"
    )
    return start
