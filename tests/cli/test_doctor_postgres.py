"""The doctor finds the settings of PostgreSQL by which a promise would be broken."""

import asyncio
import json

import pytest

from outlast.cli.server_checks import of_server
from outlast.ledger import open_ledger
from outlast.ledger.move import COPYING, FROZEN, Mark, open_source
from outlast.system import CLOCK
from outlast.testing.postgres import private_postgres
from tests.conftest import needs_pooler
from tests.postgres import PLAIN
from tests.reliability.pgbouncer import PROGRAM, pgbouncer

SETTINGS = ("synchronous_commit", "fsync", "full_page_writes", "autovacuum")


def migrated_at(url):
    async def migrate():
        ledger = open_ledger(url)
        await ledger.migrate()
        await ledger.close()

    asyncio.run(migrate())
    return url


def wrong(run, url):
    """Return the hints of what the doctor finds wrong with the ledger's server."""
    result = run("doctor", "--ledger", url, "--json")
    checks = json.loads(result.stdout)["checks"]
    return {check["name"]: check["hint"] for check in checks if not check["ok"]}


def test_a_server_with_its_own_defaults_is_well(run, migrated):
    assert wrong(run, migrated) == {}


def test_settings_that_lose_or_slow_jobs_are_found(run):
    with private_postgres(dict.fromkeys(SETTINGS, "off")) as server:
        found = wrong(run, migrated_at(server.create("careless") + PLAIN))

    assert set(SETTINGS) <= found.keys()
    assert all("set it to on" in found[name] for name in SETTINGS)


def test_a_table_that_is_never_vacuumed_is_found(run, database, postgres):
    url = migrated_at(database + PLAIN)
    name = database.rpartition("/")[2]
    off = "ALTER TABLE outlast.job SET (autovacuum_enabled = off)"
    postgres.run("psql", "-q", "-d", name, "-c", off)

    assert "autovacuum" in wrong(run, url)


def test_a_database_whose_sessions_only_read_is_found(run, database, postgres):
    url = migrated_at(database + PLAIN)
    name = database.rpartition("/")[2]
    only = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    postgres.run("psql", "-q", "-c", only)

    assert "default_transaction_read_only" in wrong(run, url)["standby"]


@pytest.mark.parametrize(("version", "is_well"), [("12.22", False), ("13.0", True), ("18", True)])
def test_a_server_that_is_too_old_is_found(version, is_well):
    facts = {
        "postgres": version, "standby": "false", "read_only": "off", "pooler": "none",
        "oldest_transaction_s": "0", **dict.fromkeys(SETTINGS, "on"),
    }  # fmt: skip

    assert all(check.ok for check in of_server(facts)) is is_well


def test_a_pooler_past_which_nothing_is_heard_is_found(run, migrated):
    needs_pooler(PROGRAM)
    there = migrated.partition("@")[2].partition("/")[0]

    async def behind():
        async with pgbouncer(migrated) as url:
            return await asyncio.gather(
                asyncio.to_thread(wrong, run, url),
                asyncio.to_thread(wrong, run, f"{url}&direct={there}"),
            )

    alone, with_direct = asyncio.run(behind())

    assert "&direct=HOST:PORT" in alone["pooler"]
    assert with_direct == {}


@pytest.mark.parametrize("is_held", [False, True])
def test_a_move_that_nobody_goes_on_with_is_found(run, database, tmp_path, is_held):
    url = migrated_at(database + PLAIN)

    async def begun():
        source = open_source(url, CLOCK)
        await source.hold()
        mark = Mark("1", f"sqlite:///{tmp_path}/there.db", COPYING)
        await source.begin(mark)
        await source.enter(mark, FROZEN)
        found = await asyncio.to_thread(wrong, run, url) if is_held else None
        await source.close()
        return found

    found = asyncio.run(begun())
    found = wrong(run, url) if found is None else found

    assert ("move" in found) is not is_held
    assert is_held or "--abort" in found["move"]
