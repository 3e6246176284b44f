"""PostgreSQL's primary dies for good under load, and its standby takes over: no hand but that."""

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import faulty
import pytest

from outlast.core.errors import UnavailableError
from outlast.core.job import Filter, NewJob, Page
from outlast.core.limits import SECOND
from outlast.ledger import open_ledger
from outlast.ledger.postgres import connection
from outlast.system import CLOCK, new_id
from outlast.testing.postgres import private_postgres
from outlast.testing.standby import either, kill_whole, private_standby
from tests.listening import listening
from tests.postgres import PLAIN
from tests.reliability.test_restarts import CLIENTS, Clients, goes_on, wrong
from tests.worker.rig import fleets

FOLLOWS = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"


def asked(server, question):
    return server.run("psql", "-Atc", question).strip()


def catch_up(primary, standby):
    """Wait until the standby has all that the primary has now."""
    written = asked(primary, "SELECT pg_current_wal_lsn()")
    while asked(standby, f"SELECT pg_last_wal_replay_lsn() >= '{written}'") != "t":
        pass


def cut_off(standby):
    """Let a standby get nothing more."""
    forget = "ALTER SYSTEM SET primary_conninfo = ''"
    standby.run("psql", "-q", "-c", forget, "-c", "SELECT pg_reload_conf()")
    while asked(standby, "SELECT pid FROM pg_stat_wal_receiver"):
        pass


@contextmanager
def a_pair(*, is_waited_for):
    """A primary and its standby, which streams; and the URL that names both."""
    with (
        private_postgres() as primary,
        private_standby(primary, is_waited_for=is_waited_for) as standby,
    ):
        url = primary.create("jobs") + PLAIN
        while asked(primary, FOLLOWS) != ("sync" if is_waited_for else "async"):
            pass
        catch_up(primary, standby)
        yield primary, standby, either(primary, standby, url)


async def failed_over(folder, *, is_waited_for, is_behind=False):
    """Kill the primary under a fleet and its clients; return what is wrong, and the time."""
    with a_pair(is_waited_for=is_waited_for) as (primary, standby, url):
        later = standby.url("jobs") + PLAIN
        ledger = open_ledger(url)
        await ledger.migrate()
        clients = Clients(ledger)
        with fleets(folder, Path(faulty.__file__), url) as fleet:
            await asyncio.to_thread(fleet)
            async with clients.busy():
                await goes_on(primary.url("jobs") + PLAIN, ledger, clients)
                if is_behind:
                    cut_off(standby)
                    await goes_on(primary.url("jobs") + PLAIN, ledger, clients)
                kill_whole(primary)
                start, acked = CLOCK.elapsed_us(), len(clients.acked)
                await asyncio.to_thread(standby.promote)
                while len(clients.acked) <= acked + CLIENTS:  # these may have been under way
                    await ledger.bell.wait(0.02)
                took = CLOCK.elapsed_us() - start
                await goes_on(later, ledger, clients)
            async with asyncio.timeout(60):
                while (await ledger.count(Filter(), "queue")).keys() != {("default", "completed")}:
                    await ledger.bell.wait(0.2)
        found = await wrong(later, clients.acked)
        await ledger.close()
        print(f"{len(clients.acked)} jobs, back after {took / SECOND:.1f} s, {len(found)} wrong")
        return found, took


@pytest.mark.fault("F28")
async def test_a_failover_to_a_standby_that_is_waited_for_loses_and_doubles_nothing(tmp_path):
    found, took = await failed_over(tmp_path, is_waited_for=True)

    assert found == []
    assert took < 15 * SECOND


async def test_what_a_standby_that_is_not_waited_for_lacks_is_as_if_never_submitted(tmp_path):
    found, took = await failed_over(tmp_path, is_waited_for=False, is_behind=True)

    assert found
    assert all(text.startswith("lost") for text in found)
    assert took < 15 * SECOND


async def test_of_several_servers_the_one_that_takes_writes_is_used():
    with a_pair(is_waited_for=False) as (primary, standby, _):
        url = either(standby, primary, standby.url("jobs") + PLAIN)
        ledger = open_ledger(url)

        await ledger.migrate()
        (made,) = await ledger.insert([NewJob(id=new_id(), task="t")])
        facts = await ledger.check()
        await ledger.close()

        assert made.outcome == "created"
        assert facts["standby"] == "false"


@asynccontextmanager
async def behind_a_silent_server(url):
    """A URL that names, before a database's server, one that takes calls and says nothing."""
    over = asyncio.Event()

    async def nothing(_reader, writer):
        await over.wait()
        writer.close()

    async with listening(nothing) as port:
        place = url.partition("@")[2].partition("/")[0]
        yield url.replace(place, f"127.0.0.1:{port},{place}")
        over.set()


async def test_a_server_that_says_nothing_keeps_nobody_from_the_next(migrated, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_OF_SEVERAL_S", 0.3)
    async with behind_a_silent_server(migrated) as url:
        ledger = open_ledger(url)

        (made,) = await ledger.insert([NewJob(id=new_id(), task="t")])
        await ledger.close()

        assert made.outcome == "created"


async def test_servers_that_share_one_bound_as_the_driver_has_it_are_caught(migrated, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    async with behind_a_silent_server(migrated) as url:
        ledger = open_ledger(url)
        ledger._address = replace(ledger._address, dsns=(url,))

        with pytest.raises(UnavailableError, match="in time"):
            await ledger.insert([NewJob(id=new_id(), task="t")])
        await ledger.close()


async def test_without_a_primary_the_error_says_so_and_a_promotion_is_noticed():
    with a_pair(is_waited_for=False) as (primary, standby, url):
        first = open_ledger(url)
        await first.migrate()
        await first.close()
        await asyncio.to_thread(catch_up, primary, standby)
        kill_whole(primary)
        ledger = open_ledger(url)

        with pytest.raises(UnavailableError, match="no server that takes writes"):
            await ledger.find(Filter(), Page())
        await asyncio.to_thread(standby.promote)

        assert await ledger.find(Filter(), Page()) == []
        await ledger.close()


async def test_while_the_standby_that_is_waited_for_is_away_nothing_is_acknowledged(
    monkeypatch,
):
    with a_pair(is_waited_for=True) as (_, standby, url):
        ledger = open_ledger(url)
        await ledger.migrate()
        monkeypatch.setattr(connection, "COMMAND_S", 0.5)
        late = open_ledger(url)
        asked = NewJob(id=new_id(), task="t", key="k", fingerprint="f")
        await asyncio.to_thread(standby.stop)

        for _ in range(3):
            with pytest.raises(UnavailableError):
                await late.insert([asked])
        monkeypatch.undo()
        await asyncio.to_thread(standby.start)
        (made,) = await ledger.insert([asked])

        assert made.id == asked.id
        assert await ledger.count(Filter(), "") == {(): 1}
        await late.close()
        await ledger.close()
