"""The ledger in PostgreSQL tells in one sentence what is wrong, and never the password."""

import asyncio
import builtins
import json

import pytest
from ledger_fixtures import job, want

from outlast.core.errors import CapabilityError, InvalidInputError, UnavailableError
from outlast.core.job import Filter, Page
from outlast.ledger import open_ledger, shown
from outlast.ledger.postgres import schema
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.statements import migrations, numbered
from outlast.ledger.steps import Step, newest


async def said(url, ask):
    ledger = open_ledger(url)
    try:
        with pytest.raises((UnavailableError, InvalidInputError)) as told:
            await ask(ledger)
        return str(told.value)
    finally:
        await ledger.close()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda url: url.replace(":", ":wrong", 2).replace(":wrong//", "://"), "user or password"),
        (lambda url: f"{url}_not", "does not exist"),
        (lambda url: f"{url.rpartition(':')[0]}:1/jobs", "can't be reached"),
        (lambda url: f"{url}?sslmode=perhaps", "sslmode"),
    ],
    ids=["password", "database", "server", "option"],
)
async def test_what_is_wrong_with_the_address_is_told_without_the_password(
    database, change, expected
):
    url = change(database)
    password = database.split(":")[2].partition("@")[0]

    told = await said(url, lambda ledger: ledger.check())

    assert expected in told
    assert password not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@db.test",
        "postgresql://ann:secret@db.test:99999/jobs",
        "postgres://ann:secret@db.test/jobs?pool=0",
        "postgresql://ann:secret@db.test/jobs?pool=many",
        "postgresql://ann:secret@db.test:many/jobs",
        "postgresql://ann:secret@one.test,/jobs",
        "postgresql://ann:secret@one.test,two.test:99999/jobs",
        "postgresql://ann:secret@one.test,two.test/jobs?target_session_attrs=standby",
        "postgresql://ann:secret@pooler.test/jobs?direct=one.test:x",
        "mysql://ann:secret@db.test/jobs",
    ],
)
def test_an_address_that_means_nothing_is_refused_without_the_password(url):
    with pytest.raises(InvalidInputError) as told:
        open_ledger(url)

    assert "secret" not in str(told.value)


def test_a_url_is_shown_without_its_password():
    assert shown("postgres://ann:secret@db.test:5433/jobs?pool=2") == (
        "postgresql://ann@db.test:5433/jobs"
    )


def test_several_servers_are_addresses_of_one_database():
    read = Address.read(
        "postgres://ann:secret@one.test:1,[::1],two.test/jobs"
        "?sslmode=require&target_session_attrs=read-write&direct=far.test:2,near.test"
    )

    rest = "/jobs?sslmode=require"
    assert read.place == "postgresql://ann@one.test:1,[::1],two.test/jobs"
    assert read.dsns == tuple(
        f"postgresql://ann:secret@{host}{rest}" for host in ("one.test:1", "[::1]", "two.test")
    )
    assert read.direct == tuple(
        f"postgresql://ann:secret@{host}{rest}" for host in ("far.test:2", "near.test")
    )


def test_without_the_driver_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "outlast.ledger.postgres.store":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(CapabilityError, match=r'pip install "outlast\[postgres\]"'):
        open_ledger("postgresql://ann@db.test/jobs")


async def test_a_database_that_was_never_migrated_is_told_so(database):
    told = [
        await said(database, ask)
        for ask in (
            lambda ledger: ledger.check(),
            lambda ledger: ledger.insert([job()]),
            lambda ledger: ledger.claim(want()),
            lambda ledger: ledger.find(Filter(), Page()),
        )
    ]

    assert all("not migrated" in one and "outlast migrate" in one for one in told)


async def test_a_newer_schema_is_told_and_left_alone(database, monkeypatch):
    ledger = open_ledger(database)
    await ledger.migrate()
    newer = [*migrations(), Step(99, "CREATE TABLE outlast.later (n int)")]
    with monkeypatch.context() as later:
        later.setattr(schema, "migrations", lambda: newer)
        await ledger.migrate()
    await ledger.close()

    told = await said(database, lambda ledger: ledger.migrate())

    assert "schema 99" in told
    assert "upgrade this installation" in told


async def test_many_processes_that_migrate_at_once_do_it_once(database):
    ledgers = [open_ledger(database) for _ in range(4)]

    versions = await asyncio.gather(*(ledger.migrate() for ledger in ledgers))

    assert versions == [newest(migrations())] * 4
    await asyncio.gather(*(ledger.close() for ledger in ledgers))


async def test_a_text_that_cant_be_stored_harms_no_neighbour(migrated):
    ledger = open_ledger(migrated)
    bad = job(tags='["\x00"]')

    outcomes = await asyncio.gather(
        *(ledger.insert([one]) for one in (job(), bad, job())), return_exceptions=True
    )

    assert [type(one) for one in outcomes] == [list, InvalidInputError, list]
    assert len(await ledger.find(Filter(), Page())) == 2
    await ledger.close()


async def test_events_that_commit_late_are_not_passed_by(migrated):
    """A reader of all events must not skip a position that somebody else is about to fill."""
    first, second = open_ledger(migrated), open_ledger(migrated)
    import asyncpg

    late = await asyncpg.connect(migrated)
    await first.insert([job()])
    await late.execute("BEGIN")
    await late.execute(
        "INSERT INTO outlast.event (job, at, seq, type, data)"
        " SELECT number, 0, 2, 'late', '{}' FROM outlast.job"
    )
    await second.insert([job()])

    before = await first.history(None)
    await late.execute("COMMIT")
    after = await first.history(None, after=before[-1].position)

    assert [event.type for event in before] == ["submitted"]
    assert [event.type for event in after] == ["late", "submitted"]
    await late.close()
    await first.close()
    await second.close()


async def test_events_of_the_younger_transaction_are_not_passed_by(migrated):
    """Who began later may have drawn the lower position: its number says nothing about that."""
    import asyncpg

    reader = open_ledger(migrated)
    older, younger = await asyncpg.connect(migrated), await asyncpg.connect(migrated)
    await reader.insert([job()])
    for one in (older, younger):
        await one.execute("BEGIN")
        await one.execute("SELECT pg_current_xact_id()")
    for seq, one in ((2, younger), (3, older)):
        await one.execute(
            "INSERT INTO outlast.event (job, at, seq, type, data)"
            f" SELECT number, 0, {seq}, 'late', '{{}}' FROM outlast.job"
        )
    await older.execute("COMMIT")

    before = await reader.history(None)
    await younger.execute("COMMIT")
    after = await reader.history(None, after=before[-1].position)

    assert [event.seq for event in before] == [1]
    assert [event.seq for event in after] == [2, 3]
    await older.close()
    await younger.close()
    await reader.close()


async def test_a_position_that_is_never_filled_holds_nothing_back_for_ever(migrated):
    import asyncpg

    reader = open_ledger(migrated)
    gone, busy = await asyncpg.connect(migrated), await asyncpg.connect(migrated)
    await reader.insert([job()])
    await gone.execute("BEGIN")
    await gone.execute(
        "INSERT INTO outlast.event (job, at, seq, type, data)"
        " SELECT number, 0, 2, 'late', '{}' FROM outlast.job"
    )
    await gone.execute("ROLLBACK")
    await reader.insert([job()])
    await reader.history(None)
    await busy.execute("BEGIN")
    await busy.execute("SELECT pg_current_xact_id()")

    found = await reader.history(None)

    assert [event.type for event in found] == ["submitted", "submitted"]
    await gone.close()
    await busy.close()
    await reader.close()


def test_a_value_that_comes_twice_is_numbered_once():
    assert numbered("a = :x AND b = :y::text OR c = :x") == (
        "a = $1 AND b = $2::text OR c = $1",
        ("x", "y"),
    )


async def test_each_ledger_rings_for_the_others(migrated):
    near, far = open_ledger(migrated), open_ledger(migrated)
    await far.bell.wait(0)  # listens from now on
    while not await _heard(near, far):
        pass  # its connection is being made

    assert json.loads((await near.docs("k"))[0].doc) == {}
    await near.close()
    await far.close()


async def _heard(near, far):
    await near.put("k", "1", "{}")
    start = asyncio.get_running_loop().time()
    await far.bell.wait(1)
    return asyncio.get_running_loop().time() - start < 1
