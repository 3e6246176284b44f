"""The options that commands share, and the ledger that most of them open."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import click

from outlast.ledger import open_ledger
from outlast.sdk.settings import Settings


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add these shared options to a command."""
    known: dict[str, Any] = {
        "host": click.option("--host", help="Address to serve on (default 127.0.0.1)."),
        "port": click.option("--port", type=int, help="Port; 0 takes a free one (default 8000)."),
        "queue": click.option(
            "--queue", "queues", multiple=True, help="Queue to work on; repeatable (default: all)."
        ),
        "concurrency": click.option(
            "--concurrency", type=int, help="Jobs at once in each process (default 16)."
        ),
        "processes": click.option("--processes", type=int, help="Worker processes (default 2)."),
        "ledger": click.option("--ledger", help="Ledger URL (default sqlite:///outlast.db)."),
        "broker": click.option("--broker", help="Broker URL (default: the ledger itself)."),
        "blobs": click.option("--blobs", help="Folder for result files (default outlast-blobs)."),
        "config": click.option("--config", help="Settings file (default outlast.yaml)."),
        "json": click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
    }

    def add(fn: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            fn = known[name](fn)
        return fn

    return add


def with_ledger(fn: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Give a command an open, migrated ledger."""

    @functools.wraps(fn)
    def command(*args: Any, ledger: str | None, config: str | None, **given: Any) -> None:
        async def work() -> None:
            opened = open_ledger(Settings.load(ledger=ledger, config=config).ledger)
            try:
                await opened.migrate()
                await fn(opened, *args, **given)
            finally:
                await opened.close()

        asyncio.run(work())

    return options("ledger", "config")(command)
