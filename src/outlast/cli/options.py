"""The options that several commands share, each described once."""

from collections.abc import Callable
from typing import Any, Final

import click

Command = Callable[..., Any]

_KNOWN: Final[dict[str, Callable[[Command], Command]]] = {
    "host": click.option("--host", help="Address to serve on (default 127.0.0.1)."),
    "port": click.option(
        "--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one (default 8000)."
    ),
    "health_host": click.option(
        "--health-host", help="Address that answers probes (default 127.0.0.1)."
    ),
    "health_port": click.option(
        "--health-port",
        type=click.IntRange(0, 65_535),
        help="Answer /livez and /readyz there; 0 takes a free port (default: nowhere).",
    ),
    "queue": click.option(
        "--queue", "queues", multiple=True, help="Queue to work on; repeatable (default: all)."
    ),
    "except_queue": click.option(
        "--except-queue",
        "except_queues",
        multiple=True,
        help="Queue that other nodes work on; repeatable.",
    ),
    "concurrency": click.option(
        "--concurrency", type=click.IntRange(1), help="Jobs at once in each process (default 16)."
    ),
    "processes": click.option(
        "--processes", type=click.IntRange(1), help="Worker processes (default 2)."
    ),
    "ledger": click.option(
        "--ledger",
        metavar="URL",
        help="Ledger to use: sqlite:///path (default outlast.db) or postgresql://…",
    ),
    "broker": click.option("--broker", metavar="URL", help="Broker (default: the ledger itself)."),
    "blobs": click.option(
        "--blobs", metavar="URL", help="Folder or bucket for files (default outlast-blobs)."
    ),
    "config": click.option(
        "--config", metavar="FILE", help="Settings file (default outlast.yaml)."
    ),
    "url": click.option("--url", metavar="URL", help="Ask this server instead of the ledger."),
    "key": click.option(
        "--key",
        envvar="OUTLAST_KEY",
        metavar="SECRET",
        help="API key for the server; better given as OUTLAST_KEY, which no process list shows.",
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
}


def options(*names: str) -> Callable[[Command], Command]:
    """Add shared options to a command, in this order."""

    def add(fn: Command) -> Command:
        for name in reversed(names):
            fn = _KNOWN[name](fn)
        return fn

    return add
