"""Others take every connection of PostgreSQL: callers are told so over HTTP, and it passes."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import faulty
import httpx
import pytest

from outlast import Outlast
from outlast.core.limits import SECOND
from outlast.system import CLOCK
from outlast.testing.postgres import private_postgres
from tests.cli.rig import served
from tests.postgres import PLAIN
from tests.worker.rig import fleets

SMALL = {"max_connections": "20", "superuser_reserved_connections": "0"}
OTHERS_OUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> 'crowd'
"""


@asynccontextmanager
async def crowded(url):
    """Take every connection there is, those that are in use too."""
    crowd, is_full = [], False
    while not is_full:
        try:
            crowd.append(await asyncpg.connect(url, server_settings={"application_name": "crowd"}))
        except asyncpg.TooManyConnectionsError:
            is_full = not await crowd[0].fetchval(OTHERS_OUT)
    try:
        yield
    finally:
        for one in crowd:
            await one.close()


async def submitted(client):
    # Delayed, so that it takes upkeep, too, to get it done.
    body = {"task": "plain", "args": {"n": 1}, "delay": "200ms"}
    return await client.post("/v1/jobs", json=body)


async def until(client, is_so):
    """Ask until it is so, as a caller does that obeys Retry-After."""
    async with asyncio.timeout(40):
        while not (found := await is_so(client)):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)
        return found


async def accepted(client):
    answer = await submitted(client)
    return answer.json() if answer.status_code == 202 else None


@pytest.mark.fault("F29")
async def test_without_a_connection_callers_get_503_and_all_recovers_by_itself(tmp_path):
    with private_postgres(SMALL) as server:
        url = server.create("crowded") + PLAIN + "&pool=2"
        app = Outlast(ledger=url, blobs=f"{tmp_path}/blobs")

        @app.task
        async def plain(n: int) -> int:
            return n

        with fleets(tmp_path, Path(faulty.__file__), url) as fleet, served(app) as place:
            worker = await asyncio.to_thread(fleet)
            async with httpx.AsyncClient(base_url=place, timeout=20) as client:
                first = await until(client, accepted)
                async with crowded(server.url("crowded")):
                    start = CLOCK.elapsed_us()
                    told = await submitted(client)
                    took = CLOCK.elapsed_us() - start
                later = await until(client, accepted)

                for job in (first, later):

                    async def is_done(client, job=job):
                        seen = (await client.get(f"/v1/jobs/{job['id']}")).json()
                        return seen.get("status") == "completed"

                    await until(client, is_done)
            assert worker.poll() is None

    assert told.status_code == 503
    assert told.headers["content-type"] == "application/problem+json"
    assert int(told.headers["retry-after"]) >= 1
    assert "no connection left" in told.json()["detail"]
    assert url.split(":")[2].partition("@")[0] not in json.dumps(told.json())
    assert took < 5 * SECOND
