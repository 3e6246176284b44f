"""Beside a million ended jobs, each hot statement reads what it takes, by an index, and no more."""

import asyncio
import json

import asyncpg
import pytest

from outlast.core.limits import LEASE_US
from outlast.ledger import open_ledger
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.connection import close, connect
from outlast.ledger.postgres.statements import fragments, numbered, sql

ENDED = 1_000_000
NOW = 1_800_000_000_000_000
LINE = {"queue": "q", "priority": 0, "tenant": "", "key": "", "task": "t", "now": NOW}
MANY = """
INSERT INTO outlast.job (id, status, queue, priority, max_attempts, submitted_at, run_at,
  started_at, finished_at, tenant, task, concurrency_key, holder, token, sole_key, tags, notify,
  args)
SELECT $1 || n, $1, 'q', 0, 4, n, n, n, CASE $1 WHEN 'completed' THEN n END, '', 't', '',
  CASE $1 WHEN 'processing' THEN 'w' END, 1, CASE WHEN n % 100 = 0 THEN 'one' END, '[]', '[]', '{}'
FROM generate_series(1, $2::bigint) AS n
"""


@pytest.fixture(scope="module")
def full(postgres):
    """A database with a long history, of which the planner's statistics say nothing true.

    They were made when nothing ran and nothing waited, as after a night without work.
    """
    url = postgres.create("plans")

    async def fill():
        ledger = open_ledger(url)
        await ledger.migrate()
        await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
        await ledger.close()
        bare = await asyncpg.connect(url)
        await bare.execute("ALTER TABLE outlast.job SET (autovacuum_enabled = off)")
        await bare.execute(MANY, "completed", ENDED)
        await bare.execute("ANALYZE outlast.job")
        for status in ("pending", "processing", "scheduled", "failed"):
            await bare.execute(MANY, status, 3_000)
        await bare.close()

    asyncio.run(fill())
    yield url
    postgres.drop("plans")


async def explained(url, statement, values):
    """Run a statement in a transaction that leaves nothing; return its plan's nodes."""
    session = await connect(Address.read(url))
    text, names = numbered(statement)
    transaction = session.connection.transaction()
    await transaction.start()
    try:
        (row,) = await session.connection.fetch(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *(values[name] for name in names)
        )
    finally:
        await transaction.rollback()
        await close(session)
    return list(nodes(json.loads(row[0])[0]["Plan"]))


def nodes(plan):
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def read(plan):
    """Count the rows that the scans of the plan looked at, taken or not."""
    scans = [node for node in plan if "Relation Name" in node]
    lost = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        (node["Actual Rows"] + sum(node.get(name, 0) for name in lost)) * node["Actual Loops"]
        for node in scans
    )


def complete_values(count):
    ids = [f"processing{n}" for n in range(1, count + 1)]
    nothing = [None] * count
    return {
        "id": ids, "token": [1] * count, "result": nothing, "event": ["completed"] * count,
        "data": ["{}"] * count, "place": list(range(count)), "now": None,
    }  # fmt: skip


def change_values(count):
    base = complete_values(count)
    nothing, no = [None] * count, [False] * count
    _, names = numbered(sql("transition"))
    return {
        **dict.fromkeys(names, nothing), **base,
        **dict.fromkeys(("rerun", "cancel", "discard", "unless_cancelled"), no),
        "source": ["processing"] * count, "target": ["failed"] * count, "ends": [True] * count,
    }  # fmt: skip


PARTS = fragments("find")
# Each: the statement, its values, and how many rows it may look at.
PLANS = {
    "claim": (sql("claim"), {**LINE, "holder": "w", "limit": 100}, 450),
    "look": (sql("look"), {"queues": ["q"], "holder": "w", "now": NOW, "most": 256}, 20),
    "lines": (sql("lines"), {"queue": "q", "now": NOW, "most": 8}, 30),
    "complete": (sql("complete"), complete_values(100), 250),
    "transition": (sql("transition"), change_values(100), 250),
    "standing": (sql("standing"), {"ids": ["completed5", "pending5"]}, 4),
    "one by its sole key": (
        sql("sole_find"), {"key": "one", "states": ["pending", "processing", "completed"]}, 6,
    ),
    "depth": (sql("depth"), {"queue": "q", "limit": 50}, 110),
    "due": (
        f"{PARTS['select']} WHERE {PARTS['due_before']} {PARTS['order:oldest']}",
        {"due_before": 100, "limit": 500}, 210,
    ),
    "newest page": (f"{PARTS['select']} {PARTS['order:newest']}", {"limit": 50}, 60),
    "ended page": (
        f"{PARTS['select']} WHERE {PARTS['after:ended']} {PARTS['order:ended']}",
        {"ended_at": 500_000, "ended_number": 0, "limit": 50}, 60,
    ),
    "held by a worker": (
        f"{PARTS['select']} WHERE {PARTS['holder']} {PARTS['order:newest']}",
        {"holder": "nobody", "limit": 500}, 5,
    ),
    "prune": (
        sql("prune_jobs"),
        {"before": 200, "limit": 100, "ids": None, "ttl_us": 1, "now": NOW}, 1_000,
    ),
}  # fmt: skip


@pytest.mark.fault("F32")
@pytest.mark.parametrize("name", PLANS)
async def test_a_hot_statement_reads_by_an_index_what_it_takes(full, name):
    statement, values, most = PLANS[name]

    plan = await explained(full, statement, values)

    scanned = [n for n in plan if n["Node Type"] == "Seq Scan" and n["Relation Name"] == "job"]
    assert not scanned
    assert read(plan) <= most


async def test_the_law_of_plans_has_teeth(full):
    # As it was at first: by a constant, the planner takes the index of all that runs.
    planted = sql("complete").replace("job.status = clock.source", "job.status = 'processing'")

    plan = await explained(full, planted, complete_values(100))

    assert read(plan) > 2_500


READ = """
SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables
WHERE schemaname = 'outlast' AND relname = 'job'
"""


@pytest.mark.fault("F32")
@pytest.mark.parametrize(("queue", "most"), [("q", 450), ("nothing", 0)])
async def test_the_usual_claim_reads_what_it_takes(full, queue, most):
    session = await connect(Address.read(full))
    transaction = session.connection.transaction()
    await transaction.start()

    leases = await session.rows("claim_plain", queues=[queue], holder="w", now=NOW, limit=100)
    in_turn, by_index = await session.connection.fetchrow(READ)

    await transaction.rollback()
    await close(session)
    assert len(leases) == (100 if most else 0)
    assert in_turn == 0
    assert by_index <= most
