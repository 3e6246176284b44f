"""Every broker on a server of its own, with the ledger in PostgreSQL, beside the ledger alone."""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.app import app
from bench.figures import Figure, pickup_ms, recover
from bench.fleet import fleet
from outlast.core.job import Event, Filter, NewJob
from outlast.core.limits import SECOND
from outlast.core.status import Status
from outlast.sdk.settings import Settings
from outlast.system import new_id
from outlast.testing.kafka import private_kafka
from outlast.testing.postgres import PostgresServer, private_postgres
from outlast.testing.rabbitmq import private_rabbitmq
from outlast.testing.redis import private_redis
from outlast.testing.sqs import private_sqs

_SERVERS: Final[dict[str, Callable[[], AbstractContextManager[Any]]]] = {
    "redis": private_redis,
    "rabbitmq": private_rabbitmq,
    "sqs": private_sqs,
    "kafka": private_kafka,
}
_QUICK: Final = ("redis", "rabbitmq")  # of which a pickup in milliseconds is asked
_BATCH: Final = 5_000
_databases = itertools.count()


class Alone(NamedTuple):
    """What the ledger does alone: jobs drained a second, and a median pickup in milliseconds."""

    rate: float
    pickup: float


def _places(server: PostgresServer, folder: Path, broker: str) -> tuple[Settings, tuple[str, ...]]:
    """Return settings with a database of their own, and the same as arguments of a worker."""
    url = server.create(f"bench{next(_databases)}")
    settings = Settings(ledger=url, broker=broker, blobs=str(folder / "blobs"))
    return settings, ("--ledger", url, "--broker", broker)


async def _drained(count: int) -> tuple[list[Event], list[Event]]:
    """Wait until nothing waits or runs; return all starts and all ends."""
    while True:
        live = [Filter(status=status) for status in (Status.PENDING, Status.PROCESSING)]
        if not any([(await app.ledger.count(where, "")).get((), 0) for where in live]):
            break
        await asyncio.sleep(0.1)
    most = 2 * count
    starts = await app.ledger.history(None, limit=most, type="started")
    return starts, await app.ledger.history(None, limit=most, type="completed")


async def _drain(settings: Settings, extra: tuple[str, ...], folder: Path, count: int) -> float:
    """Submit in bulk, then let one worker process empty the queue; return jobs per second."""
    app.configure(settings)
    async with app:
        for first in range(0, count, _BATCH):
            made = (
                NewJob(id=new_id(), task="noop", queue="bench", args=f'{{"n":{n}}}')
                for n in range(first, min(count, first + _BATCH))
            )
            await app.ledger.insert(list(made))
        with fleet(folder, extra=extra):
            starts, ends = await _drained(count)
    assert len(ends) == count
    return count * SECOND / (max(end.at for end in ends) - min(start.at for start in starts))


async def _pickup(
    settings: Settings, extra: tuple[str, ...], folder: Path, rounds: int
) -> tuple[float, float]:
    app.configure(settings)
    async with app:
        with fleet(folder, extra=extra):
            return await pickup_ms(rounds)


async def _figures(
    ledger: PostgresServer, folder: Path, name: str, url: str, sizes: tuple[int, int], alone: Alone
) -> list[Figure]:
    """Measure one broker whose server runs, beside the figures of the ledger alone."""
    count, rounds = sizes
    rate = await _drain(*_places(ledger, folder, url), folder, count)
    p50, p99 = await _pickup(*_places(ledger, folder, url), folder, rounds)
    is_quick = name in _QUICK
    found = [
        Figure(
            f"{name}: drain", rate, "jobs/s", alone.rate, "≥ 0.8" if name == "redis" else "",
            rate >= 0.8 * alone.rate if name == "redis" else None,
        ),
        Figure(
            f"{name}: pickup p50", p50, "ms", alone.pickup, "≤ 5" if is_quick else "",
            p50 <= 5 if is_quick else None,
        ),
        Figure(f"{name}: pickup p99", p99, "ms"),
    ]  # fmt: skip
    for what, limit in (("worker", 0.3), ("supervisor", 2.0)):
        settings, extra = _places(ledger, folder, url)
        took = await recover(settings, supervisor=what == "supervisor", extra=extra)
        goal = f"≤ {limit:g}"
        found.append(Figure(f"{name}: kill -9 {what}", took, "s", None, goal, took <= limit))
    return found


async def suite(folder: Path, scale: float) -> list[Figure]:
    """Measure each broker while its server alone runs beside PostgreSQL."""
    found: list[Figure] = []
    sizes = int(50_000 * scale), int(200 * scale) + 10
    with private_postgres() as ledger:
        rate = await _drain(*_places(ledger, folder, "ledger"), folder, sizes[0])
        p50, _ = await _pickup(*_places(ledger, folder, "ledger"), folder, sizes[1])
        for name, start in _SERVERS.items():
            with start() as broker:
                alone = Alone(rate, p50)
                found += await _figures(ledger, folder, name, broker.url, sizes, alone)
    return found
