"""A fresh store for each measurement, with its durability on."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from bench import floor
from bench.peers.environment import python_of
from bench.peers.roster import HERE, Store
from outlast.core.errors import OutlastError
from outlast.system import CLOCK
from outlast.testing.postgres import PostgresServer
from outlast.testing.redis import RedisServer

DURABILITY = {
    "sqlite": "WAL, synchronous=FULL: each commit is on the disk",
    "postgresql": "its defaults (fsync, synchronous_commit on): each commit is on the disk",
    "redis": "appendonly yes, appendfsync everysec: up to a second is lost with the power",
}


class Stores:
    """Starts servers when they are first needed, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._postgres: PostgresServer | None = None
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def fresh(self, store: Store) -> Iterator[tuple[str, Path]]:
        """Give the URL of an empty store, and a folder for what is measured on it."""
        self._made += 1
        name = f"{store}_{self._made}"
        place = self._folder / name
        place.mkdir()
        if store == "sqlite":
            yield f"sqlite:///{place}/bench.db", place
        elif store == "redis":
            with RedisServer(place / "redis") as server:
                yield server.url, place
        else:
            server = self._server()
            yield server.create(name), place
            server.drop(name)

    def _server(self) -> PostgresServer:
        if self._postgres is None:
            server = PostgresServer(self._folder / "postgresql")
            self._postgres = self._stack.enter_context(server)
        return self._postgres

    def settle(self, url: str) -> None:
        """Do what the database does by itself a minute after so many new rows."""
        if url.startswith("postgresql"):
            self._server().run("vacuumdb", "--analyze", "--quiet", url.rpartition("/")[2])

    def floor(self, store: Store, count: int) -> dict[str, float]:
        """Measure what the bare store does: `one` at a time, in `bulk`, and to `drain`."""
        with self.fresh(store) as (url, place):
            if store == "sqlite":
                return _sqlite_floor(place, count)
            python = python_of("floors", HERE / "requirements" / "floors.txt")
            command = [str(python), "-m", "bench.peers.floors", url, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise OutlastError(f"the floor of {store}: {done.stderr[-1_500:]}")
            return json.loads(done.stdout)


def _sqlite_floor(place: Path, count: int) -> dict[str, float]:
    db = floor.open_file(place / "floor.db")
    one = floor.submits(db, count)
    start = CLOCK.elapsed_us()
    floor.fill(db, 10 * count)
    bulk = floor.rate(10 * count, start)
    drain = floor.drain(db)
    db.close()
    return {"one": one, "bulk": bulk, "drain": drain}
