"""The same figures on PostgreSQL, each beside what its driver does bare with the same columns."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from bench import figures, floor
from bench.app import app
from bench.figures import Figure, pickup_ms
from bench.fleet import fleet
from outlast.core.job import NewJob, Want
from outlast.core.limits import LEASE_US
from outlast.ledger import open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, new_id
from outlast.testing.postgres import PostgresServer, private_postgres

HERE = Path(__file__).parent
COLUMNS = (
    "id", "status", "queue", "priority", "max_attempts", "submitted_at", "run_at", "expires_at",
    "deadline_us", "deadline_at", "timeout_us", "tenant", "task", "concurrency_key", "key",
    "sole_key", "tags", "notify", "args",
)  # fmt: skip
_BATCH = 100
_BULK = 10_000


def sql(name: str) -> str:
    return (HERE / "sql" / f"{name}.sql").read_text("utf-8")


def row(n: int, *, ended: bool = False) -> tuple[object, ...]:
    now = CLOCK.now_us()
    state = "completed" if ended else "pending"
    return (
        new_id(), state, floor.QUEUE, 0, 4, now, now, None, None, None, None, "", "noop", "", None,
        None, "[]", "[]", f'{{"n":{n}}}',
    )  # fmt: skip


@asynccontextmanager
async def database(
    server: PostgresServer, name: str
) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """Make a migrated database, and give a bare connection to it."""
    url = server.create(name)
    ledger = open_ledger(url)
    await ledger.migrate()
    await ledger.close()
    bare = await asyncpg.connect(url)
    try:
        yield url, bare
    finally:
        await bare.close()


async def use(url: str, folder: Path) -> None:
    app.configure(Settings(ledger=url, blobs=str(folder / "blobs")))
    await app.open()


@contextmanager
def workers(url: str, folder: Path, processes: int = 1) -> Iterator[None]:
    with fleet(folder, processes=processes, extra=("--ledger", url)):
        yield


async def _raw_submits(bare: asyncpg.Connection, count: int) -> float:
    statement = await bare.prepare(sql("insert"))
    start = CLOCK.elapsed_us()
    for n in range(count):
        await statement.fetch(*row(n))
    return floor.rate(count, start)


async def _fill(bare: asyncpg.Connection, count: int) -> None:
    rows = [row(n) for n in range(count)]
    await bare.copy_records_to_table("job", schema_name="outlast", columns=COLUMNS, records=rows)
    await bare.execute("ANALYZE outlast.job")


async def submits(server: PostgresServer, folder: Path, scale: float) -> list[Figure]:
    count = int(2_000 * scale)
    async with database(server, "submits") as (url, bare):
        before = await _raw_submits(bare, count)
        await use(url, folder)
        await figures.submitted(100, 1)
        one = await figures.submitted(count, 1)
        many = await figures.submitted(count * 5, 64)
        raw = (before + await _raw_submits(bare, count)) / 2
        size = int(100_000 * scale)
        start = CLOCK.elapsed_us()
        for first in range(0, size, _BULK):
            made = (
                NewJob(id=new_id(), task="noop", args=f'{{"n":{n}}}', queue=floor.QUEUE)
                for n in range(first, first + _BULK)
            )
            await app.ledger.insert(list(made))
        bulk = floor.rate(size, start)
        start = CLOCK.elapsed_us()
        await _fill(bare, size)
        copied = floor.rate(size, start)
        await app.close()
    return [
        Figure("pg submit, one at a time", one, "jobs/s", raw, "≥ 0.7", one >= 0.7 * raw),
        Figure("pg submit, 64 callers", many, "jobs/s", raw, "≥ 3", many >= 3 * raw),
        Figure("pg submit, bulk", bulk, "jobs/s", copied, "≥ 0.3", bulk >= 0.3 * copied),
    ]


async def _bare_drain(bare: asyncpg.Connection) -> float:
    """Claim 100, finish 100, each in one commit, without history; return jobs per second."""
    claim, finish = await bare.prepare(sql("claim")), await bare.prepare(sql("finish"))
    done, start = 0, CLOCK.elapsed_us()
    while numbers := [r[0] for r in await claim.fetch(floor.QUEUE, CLOCK.now_us(), _BATCH)]:
        await finish.fetch(numbers, CLOCK.now_us())
        done += len(numbers)
    return floor.rate(done, start)


async def _drain(
    url: str, bare: asyncpg.Connection, folder: Path, count: int, processes: int
) -> float:
    """Let workers empty the queue; whether they have is asked so that it costs them nothing."""
    await use(url, folder)
    await bare.execute("SET enable_seqscan = off")
    before = (await app.ledger.history(None, limit=1, type="started")) or None
    assert before is None
    with workers(url, folder, processes):
        while await bare.fetchval(sql("live")):
            await asyncio.sleep(0.1)
    first = await app.ledger.history(None, limit=1, type="started")
    last = await app.ledger.history(None, limit=count * 2, type="completed")
    await app.close()
    return count * 1_000_000 / (max(event.at for event in last) - first[0].at)


async def drains(server: PostgresServer, folder: Path, scale: float) -> list[Figure]:
    count = int(100_000 * scale)
    async with database(server, "bare") as (_, bare):
        await _fill(bare, count)
        raw = await _bare_drain(bare)
    rates = []
    for processes in (1, 2):
        async with database(server, f"drain{processes}") as (url, bare):
            await _fill(bare, count)
            rates.append(await _drain(url, bare, folder, count, processes))
    one, two = rates
    return [
        Figure("pg drain, one process", one, "jobs/s", raw, "≥ 0.36", one >= 0.36 * raw),
        Figure("pg drain, two processes", two, "jobs/s", one, "≥ 1.4", two >= 1.4 * one),
    ]


async def _claim_ms(url: str, count: int) -> float:
    """Return the median time of a claim of ten."""
    ledger = open_ledger(url)
    await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    took = []
    for _ in range(count):
        start = CLOCK.elapsed_us()
        leases = await ledger.claim(Want("w", (floor.QUEUE,), 10))
        took.append((CLOCK.elapsed_us() - start) / 1_000)
        assert len(leases) == 10
    await ledger.close()
    return statistics.median(took)


async def claims(server: PostgresServer, folder: Path, scale: float) -> list[Figure]:
    """Claim beside ten thousand finished jobs, and beside a million."""
    took = []
    for finished in (10_000, int(1_000_000 * scale)):
        async with database(server, f"finished{finished}") as (url, bare):
            await bare.execute(sql("finished"), finished)
            await _fill(bare, 5_000)
            took.append(await _claim_ms(url, 200))
    few, many = took
    name = f"pg claim, {int(1_000_000 * scale):,} finished"
    return [Figure(name, many, "ms", few, "≤ 1.3", many <= 1.3 * few)]


async def pickups(server: PostgresServer, folder: Path, scale: float) -> list[Figure]:
    async with database(server, "pickup") as (url, _):
        await use(url, folder)
        with workers(url, folder):
            p50, p99 = await pickup_ms(int(300 * scale))
        await app.close()
    return [
        Figure("pg pickup p50", p50, "ms", None, "≤ 2.5", p50 <= 2.5),
        Figure("pg pickup p99", p99, "ms", None, "≤ 10", p99 <= 10),
    ]


async def suite(folder: Path, scale: float) -> list[Figure]:
    """Measure all of it on one private server, as durable as any other."""
    found: list[Figure] = []
    with private_postgres() as server:
        for part in (submits, drains, claims, pickups):
            found += await part(server, folder, scale)
    return found
