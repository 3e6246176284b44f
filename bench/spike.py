"""Ten times what the workers can do, for a minute: what is refused, what is kept, what it costs."""

import asyncio
import json
from collections import Counter
from itertools import count as counted
from pathlib import Path

import httpx

from bench.app import app
from bench.figures import Figure, use
from bench.fleet import children_of, fleet, memory_mb
from outlast.core.job import Filter
from outlast.core.status import Status
from outlast.system import CLOCK

SLOTS = 10
DEPTH = 200
BUSY_S = 0.1  # so that the workers can do a hundred jobs a second
TIMES = 10
SENDERS = 16
CONFIG = f"queues: {{spike: {{worker_count: {SLOTS}, max_depth: {DEPTH}}}}}\n"


async def _submit(client: httpx.AsyncClient, said: Counter[int], n: int) -> httpx.Response:
    body = {"task": "busy", "args": {"n": n, "seconds": BUSY_S}}
    answer = await client.post("/v1/jobs", json=body)
    said[answer.status_code] += 1
    return answer


async def _flood(url: str, rate: float, seconds: float, said: Counter[int]) -> list[float]:
    """Send at a rate whatever the answers are; return what the refused were told to wait."""
    waits: list[float] = []
    start, numbers = CLOCK.elapsed_us(), counted()

    async def sender() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            while True:
                n = next(numbers)
                due = start + n / rate * 1_000_000
                if due - start > seconds * 1_000_000:
                    return
                await asyncio.sleep(max(0.0, (due - CLOCK.elapsed_us()) / 1_000_000))
                answer = await _submit(client, said, n)
                if answer.status_code == 503:
                    waits.append(float(answer.headers["retry-after"]))

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return waits


async def _count(status: Status) -> int:
    where = Filter(status=status, queue="spike")
    return (await app.ledger.count(where, "")).get((), 0)


async def _watch(server: int, depths: list[int], sizes: list[float]) -> None:
    while True:
        depths.append(await _count(Status.PENDING))
        sizes.append(memory_mb(server))
        await asyncio.sleep(0.1)


async def _goodput(seconds: float) -> float:
    """Measure how many jobs a second are done, from now on."""
    before, start = await _count(Status.COMPLETED), CLOCK.elapsed_us()
    await asyncio.sleep(seconds)
    after = await _count(Status.COMPLETED)
    return (after - before) * 1_000_000 / (CLOCK.elapsed_us() - start)


async def spikes(folder: Path, scale: float) -> list[Figure]:
    """Keep the queue just full, then send ten times as much; count what was done of it."""
    place, capacity = folder / "spike", SLOTS / BUSY_S
    seconds = max(6.0, 60 * scale)
    place.mkdir()
    config = place / "outlast.yaml"
    config.write_text(CONFIG, "utf-8")
    await use(place)
    said: Counter[int] = Counter()
    depths: list[int] = []
    sizes: list[float] = []
    extra = ("--port", "0", "--config", str(config))
    with fleet(place, command="dev", extra=extra) as running:
        url = str(running["url"])
        server = next(p for p in children_of(running["supervisor"]) if _serves(p))
        await _flood(url, capacity * 1.2, 5, said)  # warm, and with something waiting
        steady, _ = await asyncio.gather(_goodput(5), _flood(url, capacity * 1.2, 5.5, said))
        before = memory_mb(server)
        watch = asyncio.create_task(_watch(server, depths, sizes))
        good, waits = await asyncio.gather(
            _goodput(seconds), _flood(url, capacity * TIMES, seconds, said)
        )
        while await _count(Status.PENDING) or await _count(Status.PROCESSING):
            await asyncio.sleep(0.1)
        watch.cancel()
        done = await _count(Status.COMPLETED)
    await app.close()
    accepted, refused, size = said[202], said[503], max(sizes)
    odd = sum(said.values()) - accepted - refused
    told = f"{min(waits):g}–{max(waits):g} s" if waits else "none"
    print(json.dumps({"answers": {str(k): v for k, v in said.items()}, "retry_after": told}))
    return [
        Figure("10× spike: goodput", good, "jobs/s", steady, "≥ 0.9", good >= 0.9 * steady),
        Figure("… deepest the queue was", max(depths), "jobs", DEPTH, "≤ 1", max(depths) <= DEPTH),
        Figure("… accepted jobs done", done, "jobs", accepted, "= 1", done == accepted),
        Figure("… other answers than 202, 503", odd, "", None, "= 0", odd == 0),
        Figure("… memory of the API", size, "MB", before, "≤ 1.2", size <= 1.2 * before),
    ]


def _serves(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"api" in command
