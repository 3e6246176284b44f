"""`python -m bench.coldstart`: how soon a fresh AWS Lambda sandbox has done its first job.

Each number is of new processes, from the start of the module's import to the answer of its first
invocation; beside it the second invocation of the same process, which was frozen in between.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from outlast.ledger import open_ledger
from outlast.testing.postgres import private_postgres
from tests.aws.sandbox import sandboxes
from tests.aws.test_lambda import FUNCTION, Place, event_of, ticket

ROUNDS = 15


async def _migrate(url):
    ledger = open_ledger(url)
    await ledger.migrate()
    await ledger.close()


def measure(name, url, folder):
    asyncio.run(_migrate(url))
    place = Place(url, folder)
    rows = []
    with sandboxes(folder / "code", FUNCTION, place.environment) as start:
        for number in range(ROUNDS + 1):
            place.submit("quick", n=1)
            place.submit("quick", n=2)
            began = time.monotonic()
            one = start()
            one.invoke(event_of(ticket()))
            whole, first = time.monotonic() - began, one.last
            one.invoke(event_of(ticket()))
            if number:  # the first one fills the disk's cache
                rows.append((first["loaded_s"], first["took_s"], one.last["took_s"], whole))
            one.kill()
    told = [
        "/".join(f"{ms * 1_000:.0f}" for ms in _spread(column))
        for column in zip(*rows, strict=True)
    ]
    print(f"{name:<12}{told[0]:>16}{told[1]:>16}{told[2]:>16}{told[3]:>18}", flush=True)


def _spread(column):
    return min(column), statistics.median(column), max(column)


def main():
    print(f"{ROUNDS} sandboxes each, min/median/max in ms, Python {sys.version.split()[0]}")
    print(f"{'ledger':<12}{'import':>16}{'first job':>16}{'when warm':>16}{'process to done':>18}")
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
        measure("sqlite", f"sqlite:///{folder}/outlast.db", Path(folder))
    with private_postgres() as server, tempfile.TemporaryDirectory() as folder:
        measure("postgres", f"{server.create('cold')}?sslmode=disable", Path(folder))


if __name__ == "__main__":
    main()
