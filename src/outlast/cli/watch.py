"""Watching a list of jobs: a live table on a terminal, lines in a pipe, or JSON."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn, Protocol

from outlast.cli.backend import Doc
from outlast.cli.output import clean, drawn, show_json
from outlast.core.errors import UnavailableError

_EVERY_S: Final = 0.5

Row = Callable[[Doc], list[object]]


class Sight(Protocol):
    """Shows the list as it is now, and what keeps it from being read."""

    def jobs(self, found: list[Doc]) -> None: ...

    def away(self, error: UnavailableError) -> None: ...


async def watch(listed: Callable[[], Awaitable[list[Doc]]], sight: Sight) -> NoReturn:
    """Show the list over and over, until it is interrupted.

    A server or ledger that was there once may be away for a while; one that never answered is told.
    """
    answered = False
    while True:
        try:
            sight.jobs(await listed())
            answered = True
        except UnavailableError as error:
            if not answered:
                raise
            sight.away(error)
        await asyncio.sleep(_EVERY_S)


class _Changes:
    """Prints each job when it is new or has changed, oldest first."""

    def __init__(self, show: Callable[[Doc], None]) -> None:
        self._show = show
        self._known: dict[str, Doc] = {}
        self._told = ""

    def jobs(self, found: list[Doc]) -> None:
        self._told = ""
        for job in reversed(found):
            if self._known.get(job["id"]) != job:
                self._show(job)
        self._known = {job["id"]: job for job in found}

    def away(self, error: UnavailableError) -> None:
        if self._told != str(error):
            self._told = str(error)
            print(f"outlast: {error}", file=sys.stderr, flush=True)


@contextmanager
def sight(heads: tuple[str, ...], row: Row, *, as_json: bool) -> Iterator[Sight]:
    """Choose how to show: JSON when asked for, a table on a terminal, else lines."""
    if as_json:
        yield _Changes(show_json)
    elif not sys.stdout.isatty():
        yield _Changes(lambda job: print("  ".join(map(clean, row(job))), flush=True))
    else:
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

            class Table:
                def jobs(self, found: list[Doc]) -> None:
                    rows = [row(job) for job in found]
                    live.update(drawn(heads, rows, empty="no such jobs"), refresh=True)

                def away(self, error: UnavailableError) -> None:
                    live.update(drawn((str(error),), [], empty=""), refresh=True)

            yield Table()
