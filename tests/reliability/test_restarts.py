"""PostgreSQL restarts, and throws everybody out, under a real fleet; `make restarts` goes on."""

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import faulty
import pytest

from outlast.core.errors import UnavailableError
from outlast.core.job import NewJob
from outlast.ledger import open_ledger
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.testing.postgres import FAST, IMMEDIATE, private_postgres
from tests.worker.rig import fleets

FOR_S = float(os.environ.get("OUTLAST_RESTARTS", "0"))  # how long to go on, once four are over
APART_S = (5.0, 20.0) if FOR_S else (0.0, 0.0)
CLIENTS = 4
ALL_OUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


ENDS = """
SELECT job.id, count(*) FROM outlast.event JOIN outlast.job ON job.number = event.job
WHERE event.type = 'completed' GROUP BY job.id
"""


async def fast(server):
    await asyncio.to_thread(server.restart, FAST)


async def immediate(server):
    await asyncio.to_thread(server.restart, IMMEDIATE)


async def all_out(server):
    await asyncio.to_thread(server.run, "psql", "-q", "-c", ALL_OUT)


OUTAGES_MAX = 40


class Clients:
    """Submit without end, each job until it is acknowledged."""

    def __init__(self, ledger, *, is_bold=False):
        self._ledger = ledger
        self._is_bold = is_bold  # a bug: what broke is taken for done
        self._over = asyncio.Event()
        self.acked = []
        self.broken = 0

    @asynccontextmanager
    async def busy(self):
        tasks = [asyncio.ensure_future(self._submit()) for _ in range(CLIENTS)]
        yield
        self._over.set()
        await asyncio.gather(*tasks)

    async def _submit(self):
        while not self._over.is_set():
            job = NewJob(id=new_id(), task="plain", args='{"n":1}')
            while not await self._is_told(job):
                await self._ledger.bell.wait(0.02)
            self.acked.append(job.id)

    async def _is_told(self, job):
        try:
            await self._ledger.insert([job])
        except UnavailableError:
            self.broken += 1
            return self._is_bold
        return True


async def passed(seconds, ledger):
    start = CLOCK.elapsed_us()
    while CLOCK.elapsed_us() - start < seconds * 1_000_000:
        await ledger.bell.wait(0.2)


async def goes_on(url, ledger, clients):
    """Return once, since now, jobs were acknowledged and completed: without a hand."""
    acked, done = len(clients.acked), await completed(url)
    async with asyncio.timeout(30):
        while len(clients.acked) < acked + 20 or await completed(url) < done + 20:
            await ledger.bell.wait(0.1)


async def asked(url, query):
    while True:
        try:
            bare = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            continue
        try:
            return await bare.fetch(query)
        finally:
            await bare.close()


async def completed(url):
    ((count,),) = await asked(url, "SELECT count(*) FROM outlast.job WHERE status = 'completed'")
    return count


async def wrong(url, acked):
    """Return what was lost, is not done, or was accepted twice."""
    rows = dict(await asked(url, "SELECT id, status FROM outlast.job"))
    ends = dict(await asked(url, ENDS))
    return (
        [f"lost: {id_}" for id_ in acked if id_ not in rows]
        + [f"{status}: {id_}" for id_, status in rows.items() if status != "completed"]
        + [f"{ends.get(id_)} completions: {id_}" for id_ in rows if ends.get(id_) != 1]
    )


async def restarted(server, folder, *, is_bold=False):
    """Let a fleet work through outages; return what was wrong, and how many answers were lost."""
    url = server.create(f"r{new_id().replace('-', '')}") + "?sslmode=disable"
    ledger = open_ledger(url)
    await ledger.migrate()
    clients = Clients(ledger, is_bold=is_bold)
    start, outages = CLOCK.elapsed_us(), 0
    with fleets(folder, Path(faulty.__file__), url) as fleet:
        await asyncio.to_thread(fleet)
        async with clients.busy():
            # An outage may fall between two submits: go on until one was felt.
            while (
                outages < 4
                or (not clients.broken and outages < OUTAGES_MAX)
                or CLOCK.elapsed_us() - start < FOR_S * 1_000_000
            ):
                await goes_on(url, ledger, clients)
                low, high = APART_S
                await passed(low + (high - low) * ENTROPY.fraction(), ledger)
                await (immediate, all_out, fast)[outages % 3](server)
                outages += 1
        async with asyncio.timeout(60):
            while await completed(url) < len(clients.acked) and not is_bold:
                await ledger.bell.wait(0.2)
    found = await wrong(url, clients.acked)
    await ledger.close()
    print(f"{outages} outages, {len(clients.acked)} jobs, {clients.broken} answers lost")
    return found, clients.broken


@pytest.mark.fault("F27")
async def test_a_fleet_goes_through_restarts_and_thrown_out_sessions_without_a_hand(tmp_path):
    with private_postgres() as server:
        found, broken = await restarted(server, tmp_path)

    assert found == []
    assert broken


async def test_a_client_that_takes_a_broken_connection_for_an_answer_is_caught(tmp_path):
    with private_postgres() as server:
        found, _ = await restarted(server, tmp_path, is_bold=True)

    assert any(text.startswith("lost") for text in found)
