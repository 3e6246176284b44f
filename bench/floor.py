"""Raw floors: the same columns through the same driver, and nothing else."""

from pathlib import Path

import apsw

from outlast.ledger.sqlite.connection import connect
from outlast.ledger.sqlite.statements import migrations, sql
from outlast.system import CLOCK, new_id

QUEUE = "bench"


def open_file(path: Path) -> apsw.Connection:
    """Open a fresh file with the product's schema and settings."""
    db = connect(str(path))
    for step in migrations():
        db.execute(step.script)
        db.execute(f"PRAGMA user_version = {step.number:d}")
    return db


def submits(db: apsw.Connection, count: int) -> float:
    """One-row transactions with `synchronous=FULL`; return rows per second."""
    statement = sql("insert_job")
    start = CLOCK.elapsed_us()
    for n in range(count):
        db.execute("BEGIN IMMEDIATE")
        db.execute(statement, _row(n)).fetchone()
        db.execute("COMMIT")
    return rate(count, start)


def fill(
    db: apsw.Connection, count: int, status: str = "pending", *, keys: int = 0, task: str = "noop"
) -> None:
    """Insert rows in big transactions, to have something to drain or to lie in the way."""
    statement = sql("insert_job")
    for first in range(0, count, 10_000):
        db.execute("BEGIN IMMEDIATE")
        for n in range(first, min(first + 10_000, count)):
            row = {**_row(n), "task": task, "concurrency_key": f"key-{n % keys}" if keys else None}
            (number,) = db.execute(statement, row).fetchone()
            if status == "completed":
                db.execute(
                    (Path(__file__).parent / "finish.sql").read_text(), (CLOCK.now_us(), number)
                )
        db.execute("COMMIT")
    # Else the first commit of whoever is measured would move all of this into the file.
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _row(n: int) -> dict[str, object]:
    now = CLOCK.now_us()
    return {
        "id": new_id(),
        "status": "pending",
        "queue": QUEUE,
        "priority": 0,
        "max_attempts": 4,
        "now": now,
        "run_at": now,
        "expires_at": None,
        "deadline_us": None,
        "timeout_us": None,
        "tenant": "",
        "task": "noop",
        "concurrency_key": None,
        "key": None,
        "sole_key": None,
        "tags": "[]",
        "notify": "[]",
        "args": f'{{"n":{n}}}',
    }


def drain(db: apsw.Connection) -> float:
    """Claim 100, finish 100, each in one commit, without history; return jobs per second."""
    claim = sql("claim")
    finish = (Path(__file__).parent / "finish.sql").read_text()
    done, start = 0, CLOCK.elapsed_us()
    while True:
        binds = {
            "holder": "floor",
            "queue": QUEUE,
            "priority": 0,
            "tenant": "",
            "key": "",
            "task": "noop",
            "now": CLOCK.now_us(),
            "limit": 100,
        }
        db.execute("BEGIN IMMEDIATE")
        rows = db.execute(claim, binds).fetchall()
        db.execute("COMMIT")
        if not rows:
            return rate(done, start)
        db.execute("BEGIN IMMEDIATE")
        db.executemany(finish, [(CLOCK.now_us(), row[0]) for row in rows])
        db.execute("COMMIT")
        done += len(rows)


def rate(count: int, start_us: int) -> float:
    """Return how many a second since an elapsed instant."""
    return count * 1_000_000 / max(1, CLOCK.elapsed_us() - start_us)
