"""`python -m bench.peers`: the same job by this queue and others, in one run, as one table."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench import results
from bench.peers import measure, table
from bench.peers.environment import SetupError, python_of
from bench.peers.measure import Row, Sizes, Victim
from bench.peers.process import PeerError
from bench.peers.roster import Entry, chosen
from bench.peers.stores import DURABILITY, Stores
from outlast.core.errors import OutlastError

FAILURES = (PeerError, SetupError, OutlastError, OSError, AssertionError)
Subject = tuple[Row, Entry, Path]
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Tell how far the run is."""
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


async def _guarded(row: Row, doing: str, act: Callable[[], Awaitable[None]]) -> None:
    """Do it; what goes wrong is the row's failure, and the run goes on."""
    say(f"{row.name}: {doing}")
    try:
        await act()
    except FAILURES as error:
        failed = f"{doing}: {str(error) or type(error).__name__}"
        row.failed = f"{row.failed}\n{failed}".strip()
        say(f"{row.name}: FAILED {failed}")


async def _recoveries(stores: Stores, subjects: list[Subject], sizes: Sizes) -> None:
    """Kill the workers of all queues, and wait for all of them at once."""
    for whole in (False, True):
        async with AsyncExitStack() as stack:
            ready: list[tuple[Row, Victim]] = []

            async def enter(row: Row, entry: Entry, python: Path) -> None:
                found = measure.victim(stores, entry, python)
                ready.append((row, await stack.enter_async_context(found)))  # noqa: B023 - awaited

            what = "its worker" if whole else "the process of a job"
            for row, entry, python in subjects:
                await _guarded(row, f"kill -9 {what}", partial(enter, row, entry, python))
            struck = [(row, v, sizes) for row, v in ready if whole or v.is_tree]
            say(f"kill -9 {what}: waiting up to {sizes.recovery_s:g} s")
            await asyncio.gather(*(_strike(*one, whole=whole) for one in struck))
            for row, found in ready:
                row.is_tree, row.waited_s = found.is_tree, sizes.recovery_s


async def _strike(row: Row, victim: Victim, sizes: Sizes, *, whole: bool) -> None:
    _, seconds = await asyncio.gather(victim.kill(whole=whole), victim.recovered(sizes.recovery_s))
    setattr(row, "kill_worker_s" if whole else "kill_job_s", seconds)


async def run(entries: list[Entry], sizes: Sizes, folder: Path) -> list[Row]:
    """Measure these queues; return a row for each of them, failed or not."""
    subjects: list[Subject] = []
    rows = [Row(entry.name, entry.store) for entry in entries]

    async def install(row: Row, entry: Entry) -> None:
        subjects.append((row, entry, python_of(entry.adapter, entry.requirements)))

    for row, entry in zip(rows, entries, strict=True):
        await _guarded(row, "environment", partial(install, row, entry))
    with Stores(folder) as stores:
        for row, entry, python in subjects:
            for doing, act in (("submit and drain", measure.rates), ("pickup", measure.idle)):
                await _guarded(row, doing, partial(act, row, stores, entry, python, sizes))
        await _recoveries(stores, subjects, sizes)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", help="adapters, stores or rows; all unless given")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    given = parser.parse_args()
    try:
        entries = chosen(given.peers)
    except ValueError as error:
        parser.error(str(error))
    # Beside the code, not in /tmp, which may be memory: a commit must reach a disk.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        folder.chmod(0o711)  # a PostgreSQL that root starts runs as nobody
        rows = asyncio.run(run(entries, Sizes(given.scale), folder))
    print(table.render(rows, DURABILITY))
    results.append(given.results, given.scale, peers=[asdict(row) for row in rows])
    if failed := [row.name for row in rows if row.failed]:
        sys.exit(f"bench.peers: {len(failed)} of {len(rows)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
