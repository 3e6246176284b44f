"""A commit wakes the workers, and what can't be one transaction is refused in one sentence."""

import asyncio
import sqlite3
import subprocess
import sys

import apsw
import asyncpg
import psycopg
import pytest
from django.db import connections
from sqlalchemy import create_engine

from outlast import SyncOutlast
from outlast.core.errors import CapabilityError, InvalidInputError, UnavailableError
from tests.frameworks import django_fixtures  # noqa: F401 - sets Django up
from tests.transactions.rig import new_app
from tests.worker.rig import running


@pytest.fixture
async def app(migrated, tmp_path):
    async with new_app(migrated, tmp_path) as opened:
        yield opened


@pytest.fixture
async def theirs(migrated):
    connection = await asyncpg.connect(migrated)
    yield connection
    await connection.close()


@pytest.fixture
async def sqlite_app(tmp_path):
    async with new_app(f"sqlite:///{tmp_path}/outlast.db", tmp_path) as opened:
        yield opened


async def refusal(work, kind=InvalidInputError):
    with pytest.raises(kind) as told:
        await work
    return str(told.value)


async def test_a_worker_is_woken_by_the_commit_and_by_nothing_before(app, theirs):
    ear = asyncio.create_task(app.ledger.bell.wait(20))
    async with running(app):
        await app.task_of["add"].submit(a=0, b=0)
        await ear

        async with theirs.transaction():
            handle = await app.task_of["add"].within(theirs).submit(a=1, b=2)
            assert await app.ledger.get([handle.id]) == [None]

        assert await handle.result(timeout=20) == 3


async def test_the_wake_up_comes_with_the_commit(app, theirs, migrated):
    listener = await asyncpg.connect(migrated)
    heard = asyncio.Event()
    await listener.add_listener("outlast", lambda *_: heard.set())
    transaction = theirs.transaction()
    await transaction.start()
    await app.task_of["add"].within(theirs).submit(a=1, b=2)
    await listener.fetchval("SELECT 1")
    before = heard.is_set()

    await transaction.commit()
    await asyncio.wait_for(heard.wait(), 20)
    await listener.close()

    assert not before


async def test_a_worker_runs_what_was_committed_in_the_users_own_file(sqlite_app, tmp_path):
    with apsw.Connection(f"{tmp_path}/outlast.db") as theirs:
        theirs.execute("CREATE TABLE orders (number INTEGER)")
        theirs.execute("INSERT INTO orders VALUES (1)")
        handle = await sqlite_app.task_of["add"].within(theirs).submit(a=1, b=2)

    async with running(sqlite_app):
        assert await handle.result(timeout=20) == 3


async def test_the_transaction_stays_as_durable_as_it_was(app, theirs):
    async with theirs.transaction():
        await app.task_of["add"].within(theirs).submit(a=1, b=2)
        synchronous = await theirs.fetchval("SHOW synchronous_commit")
        waits = await theirs.fetchval("SHOW lock_timeout")

    assert (synchronous, waits) == ("on", "0")


@pytest.mark.parametrize("name", ["alone", "bounded"])
@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_what_others_committed_is_not_judged_from_an_old_snapshot(app, theirs, name, level):
    async with theirs.transaction(isolation=level):
        said = await refusal(app.task_of[name].within(theirs).submit(a=1))
        plain = await app.task_of["add"].within(theirs).submit(a=1, b=2)

    assert "expected a transaction of level read committed" in said
    assert await plain.status()


async def test_a_key_that_came_meanwhile_is_never_two_jobs(app, theirs):
    task = app.task_of["add"].options(key="k")
    transaction = theirs.transaction(isolation="repeatable_read")
    await transaction.start()
    await theirs.fetchval("SELECT count(*) FROM outlast.job")
    await task.submit(a=1, b=2)

    with pytest.raises(asyncpg.SerializationError):
        await task.within(theirs).submit(a=1, b=2)
    await transaction.rollback()

    assert (await task.within(theirs).submit(a=1, b=2)).duplicate


async def waits(connection):
    """Return when somebody waits for what this transaction decides."""
    async with asyncio.timeout(20):
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            continue


@pytest.mark.parametrize("is_kept", [True, False], ids=["commit", "rollback"])
@pytest.mark.parametrize("name", ["add", "alone"])
async def test_who_means_the_same_waits_for_the_end_of_the_transaction(app, theirs, name, is_kept):
    task, args = app.task_of[name], {"a": 1} if name == "alone" else {"a": 1, "b": 2}
    task = task if name == "alone" else task.options(key="k")
    transaction = theirs.transaction()
    await transaction.start()
    inside = await task.within(theirs).submit(**args)
    asked = asyncio.create_task(task.submit(**args))
    await waits(theirs)

    await (transaction.commit() if is_kept else transaction.rollback())
    outside = await asked

    assert (outside.id == inside.id, outside.duplicate) == (is_kept, is_kept)


async def test_another_database_is_refused_before_anything_is_written(app, database, postgres):
    elsewhere = await asyncpg.connect(database)
    async with elsewhere.transaction():
        empty = await refusal(app.task_of["add"].within(elsewhere).submit(a=1, b=2))
        assert await elsewhere.fetchval("SELECT 1") == 1
    async with new_app(database, "/nowhere"):
        other = await refusal(app.task_of["add"].within(elsewhere).submit(a=1, b=2))
    await elsewhere.close()

    assert "which has no ledger" in empty
    assert "expected a connection to the ledger postgresql://" in other
    assert "which has no ledger" not in other


async def test_a_ledger_that_is_not_migrated_is_told(app, theirs):
    within = app.task_of["add"].within(theirs)
    rest = await within.storing(await within.jobs([{"a": 1, "b": 2}]))
    transaction = theirs.transaction()
    await transaction.start()
    await theirs.execute("ALTER TABLE outlast.job RENAME TO job_of_old")

    said = await refusal(rest, UnavailableError)
    usable = await theirs.fetchval("SELECT 1")
    await transaction.rollback()

    assert "not migrated" in said
    assert usable == 1


async def test_a_file_of_another_schema_is_told(sqlite_app, tmp_path):
    theirs = apsw.Connection(f"{tmp_path}/outlast.db")
    theirs.execute("PRAGMA user_version = 3")
    said = await refusal(
        sqlite_app.task_of["add"].within(theirs).submit(a=1, b=2), UnavailableError
    )  # fmt: skip

    assert "not migrated (schema 3)" in said


async def test_a_connection_to_another_kind_of_ledger_is_told(app, sqlite_app, theirs, tmp_path):
    file = apsw.Connection(f"{tmp_path}/outlast.db")
    memory = apsw.Connection(":memory:")
    add, add_here = app.task_of["add"], sqlite_app.task_of["add"]

    assert "is in PostgreSQL" in await refusal(add.within(file).submit(a=1, b=2))
    assert "is in SQLite" in await refusal(add_here.within(theirs).submit(a=1, b=2))
    assert "a database in memory" in await refusal(add_here.within(memory).submit(a=1, b=2))


async def test_a_ledger_in_memory_shares_no_transaction(theirs, tmp_path):
    async with new_app("memory://", tmp_path) as app:
        said = await refusal(
            app.task_of["add"].within(theirs).submit(a=1, b=2), CapabilityError
        )  # fmt: skip

    assert "shares no transaction" in said


@pytest.mark.parametrize("what", [None, 1, "postgresql://", object(), apsw, asyncpg.Record])
async def test_what_is_no_connection_is_refused_by_naming_those_that_are(app, what):
    with pytest.raises(InvalidInputError, match=r"asyncpg, psycopg 3, SQLAlchemy or Django"):
        app.task_of["add"].within(what)


def test_no_library_is_loaded_that_the_user_has_not_loaded():
    code = """
import sys
from outlast import Outlast, OutlastError
app = Outlast()
@app.task
async def work(): ...
try:
    work.within(object())
except OutlastError:
    print(sorted({"asyncpg", "django", "psycopg", "sqlalchemy"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


async def test_a_cursor_and_a_pool_are_no_connections(app, theirs, migrated):
    async with asyncpg.create_pool(migrated, min_size=0) as pool:
        with pytest.raises(InvalidInputError, match=r"got asyncpg\.pool\.Pool"):
            app.task_of["add"].within(pool)
    with (
        psycopg.connect(migrated) as blocking,
        pytest.raises(InvalidInputError, match=r"got psycopg\.Cursor"),
    ):
        app.task_of["add"].within(blocking.cursor())


async def test_the_other_sqlite_is_refused_whoever_brings_it(sqlite_app, tmp_path):
    add = sqlite_app.task_of["add"]
    raw = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(InvalidInputError, match="two of them in one process"):
        add.within(raw)
    raw.close()
    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(InvalidInputError, match="two of them"):
        add.within(connection)
    engine.dispose()
    with pytest.raises(InvalidInputError, match="two of them"):
        add.within(connections["default"])


def test_a_connection_of_an_event_loop_is_refused_where_there_is_none(migrated, tmp_path):
    app = new_app(migrated, tmp_path)
    with asyncio.Runner() as runner:
        theirs = runner.run(asyncpg.connect(migrated))
        with SyncOutlast(app) as jobs, pytest.raises(InvalidInputError, match="an event loop"):
            jobs.submit(app.task_of["add"].within(theirs), a=1, b=2)
        runner.run(theirs.close())


def test_the_app_may_be_opened_inside_the_users_transaction(tmp_path):
    url = f"sqlite:///{tmp_path}/outlast.db"
    with SyncOutlast(new_app(url, tmp_path)) as first:
        first.handle("x")
    app = new_app(url, tmp_path)
    theirs = apsw.Connection(f"{tmp_path}/outlast.db")
    theirs.execute("BEGIN IMMEDIATE")

    with SyncOutlast(app) as jobs:
        handle = jobs.submit(app.task_of["add"].within(theirs), a=1, b=2)
        theirs.execute("COMMIT")

        assert handle.status().status == "pending"
