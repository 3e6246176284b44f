"""Ten times what the workers can do: the queue says "busy" at its bound, and keeps what it took."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter

import httpx
import pytest

from outlast.core.job import Filter, Page
from outlast.core.status import Status
from outlast.ledger import open_ledger

ASKED, SENDERS, DEPTH = 1_000, 16, 20
APP = """\
import asyncio

from outlast import Outlast

app = Outlast()


@app.task(queue="spike")
async def busy(n: int) -> int:
    await asyncio.sleep(0.02)
    return n
"""


@pytest.fixture
def server(tmp_path):
    """Start `outlast dev` with two slots and a bound; give its URL and its ledger's."""
    (tmp_path / "app.py").write_text(APP, "utf-8")
    (tmp_path / "outlast.yaml").write_text(
        f"queues: {{spike: {{worker_count: 2, max_depth: {DEPTH}}}}}\n", "utf-8"
    )
    command = [sys.executable, "-m", "outlast", "dev", "app.py", "--json", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        yield json.loads(process.stdout.readline())["url"], tmp_path / "outlast.db"
        process.send_signal(signal.SIGTERM)


async def flood(url, said, accepted):
    """Send from all senders as fast as each is answered."""
    numbers = iter(range(ASKED))

    async def sender():
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for n in numbers:
                answer = await client.post("/v1/jobs", json={"task": "busy", "args": {"n": n}})
                said[answer.status_code] += 1
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                else:
                    assert answer.json()["code"] == "queue-full", answer.text
                    assert int(answer.headers["retry-after"]) >= 1

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def count(ledger, status):
    return (await ledger.count(Filter(status=status, queue="spike"), "")).get((), 0)


async def deepest(ledger, work):
    """Return how many jobs waited at most while something is done."""
    most = 0
    while not work.done():
        most = max(most, await count(ledger, Status.PENDING))
        await asyncio.wait([work], timeout=0.02)
    return most


@pytest.mark.fault("F54")
async def test_ten_times_the_load_is_refused_at_the_bound_and_the_rest_is_done(server):
    url, path = server
    ledger = open_ledger(f"sqlite:///{path}")
    said, accepted = Counter(), []

    sending = asyncio.create_task(flood(url, said, accepted))
    depth = await deepest(ledger, sending)
    await sending
    done_meanwhile = await count(ledger, Status.COMPLETED)
    async with asyncio.timeout(60):
        while await count(ledger, Status.COMPLETED) < len(accepted):
            await ledger.bell.wait(1)
    rows = await ledger.find(Filter(queue="spike"), Page(limit=2 * ASKED))
    await ledger.close()

    assert said.total() == ASKED
    assert set(said) == {202, 503}
    assert depth <= DEPTH
    assert done_meanwhile > 0
    assert {row.id for row in rows} == set(accepted)
    assert {row.status for row in rows} == {Status.COMPLETED}
