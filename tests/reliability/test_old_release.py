"""The worker of the release before goes on while, and after, the schema is brought up to this one.

Whoever adds a migration pins here the commit before it: the old code is taken from the history.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outlast.core.job import Filter, NewJob, Page
from outlast.core.status import Status
from outlast.ledger import open_ledger
from outlast.ledger.postgres import schema
from outlast.ledger.postgres.statements import migrations as migrations_of_postgres
from outlast.ledger.sqlite.statements import migrations
from outlast.ledger.steps import newest
from outlast.system import new_id
from tests.conftest import needs_history

ROOT = Path(__file__).parents[2]
# The newest migration of each store, and the last commit without it.
BEFORE = {
    "sqlite": (6, "dbd019e33f2976e91c527e607b6be4ed88cf7795"),
    "postgres": (2, "4b243c299bbf48e843cf6afb9a156127f7563dad"),
}
APP = """\
import asyncio
from pathlib import Path

from outlast import Job, Outlast

app = Outlast()
seen = Path(__file__).with_name("seen")


@app.task(retries=2)
async def mark(job: Job, n: int) -> int:
    await asyncio.sleep(0.01)
    if n % 5 == 0 and job.attempt == 1:
        raise OSError("once more, please")
    with seen.open("a") as file:
        file.write(f"{n} ")
    return n
"""
ALL = 300


def test_each_store_has_its_newest_migration_judged_here():
    there_are = {
        "sqlite": newest(migrations()),
        "postgres": newest(migrations_of_postgres()),
    }

    assert {store: number for store, (number, _) in BEFORE.items()} == there_are


@pytest.fixture(params=BEFORE)
def store(request):
    return request.param


@pytest.fixture
def old_code(tmp_path, store):
    """Take the code of the release before out of the history."""
    _, commit = BEFORE[store]
    packed = tmp_path / "old.tar"
    command = ["git", "-C", ROOT, "archive", "--output", packed, commit, "src"]
    taken = subprocess.run(command, capture_output=True, text=True, check=False)
    if taken.returncode != 0:
        needs_history(taken.stderr)
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path], check=True)
    return tmp_path / "src"


@pytest.fixture
def place(tmp_path, store, request):
    """Where a ledger can be made."""
    if store == "sqlite":
        yield f"sqlite:///{tmp_path}/outlast.db"
        return
    server = request.getfixturevalue("postgres")
    yield server.create("before")
    server.drop("before")


@pytest.fixture
def old_worker(tmp_path, old_code, place):
    """Run a worker of the release before, on a ledger that it makes; give the ledger's URL."""
    app = tmp_path / "marks.py"
    app.write_text(APP, "utf-8")
    command = [
        *(sys.executable, "-c", "import sys; from outlast.cli import main; sys.exit(main())"),
        *("worker", app, "--ledger", place, "--processes", "2", "--json"),
    ]
    said = tmp_path / "said"
    environment = {**os.environ, "PYTHONPATH": str(old_code)}
    with said.open("w") as told:
        process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=told, env=environment
        )
        assert process.stdout.readline(), said.read_text()
        yield place
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.read_text() == ""


def jobs():
    """Make jobs of every way that a job can go: at once, later, in lines, again after a failure."""
    return [
        NewJob(
            id=new_id(),
            task="mark",
            args=json.dumps({"n": n}),
            delay_us=(0, 300_000)[n % 4 == 0],
            tenant=("", "acme")[n % 2],
            concurrency_key=(None, "a", "b")[n % 3],
            priority=n % 3,
        )
        for n in range(ALL)
    ]


async def version_of(ledger, store):
    if store == "sqlite":
        return await ledger._reader.run(lambda db, _: db.pragma("user_version"))
    return await ledger._run(schema.version_of)


@pytest.mark.fault("F58")
async def test_a_worker_of_the_release_before_works_on_while_the_schema_changes(
    tmp_path, store, old_worker
):
    number, _ = BEFORE[store]
    ledger, other = open_ledger(old_worker), open_ledger(old_worker)
    before = await version_of(ledger, store)
    is_under_way = asyncio.Event()

    async def load():
        for n, one in enumerate(jobs()):
            await ledger.insert([one])
            if n == ALL // 2:
                is_under_way.set()

    loading = asyncio.create_task(load())
    await is_under_way.wait()
    after = await other.migrate()
    await loading
    async with asyncio.timeout(60):
        while (await ledger.count(Filter(status=Status.COMPLETED), ""))[()] < ALL:
            assert not await ledger.find(Filter(status=Status.FAILED), Page())
            await ledger.bell.wait(5)
    await ledger.close()
    await other.close()

    assert (before, after) == (number - 1, number)
    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == list(range(ALL))
