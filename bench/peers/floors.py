"""`python -m bench.peers.floors URL COUNT`: what the bare store does, by its usual driver.

`one`: one job a round trip, durable. `bulk`: the fastest way to put many in. `drain`: take and
finish. Runs in an environment with redis-py and asyncpg; the floor of SQLite is `bench.floor`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

TABLE = """
CREATE TABLE floor (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL, status text NOT NULL, args text NOT NULL, holder text,
    run_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz
);
CREATE INDEX floor_pending ON floor (queue, id) WHERE status = 'pending';
"""
INSERT = "INSERT INTO floor (queue, status, args) VALUES ('bench', 'pending', $1) RETURNING id"
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM floor WHERE queue = 'bench' AND status = 'pending'
    ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
)
UPDATE floor SET status = 'processing', holder = 'floor'
FROM due WHERE floor.id = due.id RETURNING floor.id, floor.args
"""
FINISH = "UPDATE floor SET status = 'completed', finished_at = now() WHERE id = ANY($1)"
JOB = '{"n": 12345}'


def redis_floor(url: str, count: int) -> dict[str, float]:
    """LPUSH, XADD, pipelines of 1,000, and LMOVE followed by LREM, as reliable queues do."""
    import redis

    db = redis.Redis.from_url(url)

    def drain() -> None:
        while (job := db.lmove("bench", "taken", "RIGHT", "LEFT")) is not None:
            db.lrem("taken", 1, job)

    def bulk() -> None:
        for _ in range(0, count, 1_000):
            line = db.pipeline(transaction=False)
            for _ in range(1_000):
                line.lpush("many", JOB)
            line.execute()

    one = _rate(count, lambda: [db.lpush("bench", JOB) for _ in range(count)])
    stream = _rate(count, lambda: [db.xadd("stream", {"data": JOB}) for _ in range(count)])
    found = {"one": one, "stream": stream, "drain": _rate(count, drain)}
    return {**found, "bulk": _rate(-(-count // 1_000) * 1_000, bulk)}


def _rate(count: int, act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return count / (time.perf_counter() - start)


async def postgresql_floor(url: str, count: int) -> dict[str, float]:
    """One-row commits, COPY, and claim-100 with SKIP LOCKED followed by finish-100."""
    import asyncpg

    db = await asyncpg.connect(url)
    await db.execute(TABLE)
    start = time.perf_counter()
    for _ in range(count):
        await db.fetchval(INSERT, JOB)
    one = count / (time.perf_counter() - start)
    many = 10 * count
    rows = [("bench", "pending", JOB) for _ in range(many)]
    start = time.perf_counter()
    await db.copy_records_to_table("floor", records=rows, columns=["queue", "status", "args"])
    bulk = many / (time.perf_counter() - start)
    start = time.perf_counter()
    while due := await db.fetch(CLAIM):
        await db.execute(FINISH, [row["id"] for row in due])
    drain = (count + many) / (time.perf_counter() - start)
    await db.close()
    return {"one": one, "bulk": bulk, "drain": drain}


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    if url.startswith("redis"):
        found = redis_floor(url, count)
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(postgresql_floor(url, count))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
