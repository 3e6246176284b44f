"""`python -m bench.peers.agent ADAPTER`: submits jobs by one queue, inside its own environment.

It reads one order a line from standard input and answers each with one line, both JSON. It needs
the standard library and the queue, no more.
"""

import asyncio
import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers.witness import read_started

URL = os.environ.get("BENCH_URL", "")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
CALLERS = 64
WARMING = 10


class Peer:
    """One queue under measurement; an adapter fills in what differs."""

    distributions: tuple[str, ...] = ()
    settings = ""  # what was chosen, and what it gives
    source = ""  # where the queue's own documentation says so
    runs = ""  # how a worker process runs the no-op
    has_bulk = False  # whether it has a call that takes many jobs

    async def open(self) -> None:
        """Connect; make the tables where that is a step of its own."""

    async def close(self) -> None:
        """Disconnect."""

    async def submit(self, task: str, n: int) -> None:
        """Give one job to the queue, and wait until the queue has it."""
        raise NotImplementedError

    async def bulk(self, count: int) -> None:
        """Give many no-ops: by the queue's call for it, else by 64 callers at once."""

        async def caller() -> None:
            for n in numbers:
                await self.submit("noop", n)

        numbers = iter(range(count))
        await asyncio.gather(*(caller() for _ in range(CALLERS)))

    def workers(self, processes: int) -> list[list[str]]:
        """Return the commands that make so many worker processes."""
        return [self.worker() for _ in range(processes)]

    def worker(self) -> list[str]:
        """Return the command of one worker process."""
        raise NotImplementedError


def tool(name: str, *arguments: str) -> list[str]:
    """Return a command of this environment."""
    return [str(Path(sys.executable).parent / name), *arguments]


async def _submit(peer: Peer, count: int) -> dict[str, Any]:
    """Submit one at a time, after the first ones, which connect."""
    for n in range(WARMING):
        await peer.submit("noop", n)
    start = time.perf_counter()
    for n in range(count):
        await peer.submit("noop", n)
    return {"seconds": time.perf_counter() - start}


async def _bulk(peer: Peer, count: int) -> dict[str, Any]:
    start = time.perf_counter()
    await peer.bulk(count)
    return {"seconds": time.perf_counter() - start}


async def _pickup(peer: Peer, count: int, patience: float) -> dict[str, Any]:
    """Submit to an idle system, one after the other; return how long each took to start."""
    late: list[float] = []
    for n in range(count):
        await asyncio.sleep(0.01)
        asked = time.time_ns()
        await peer.submit("when", n)
        give_up = time.monotonic() + patience
        while (at := _start_of(n)) is None:
            if time.monotonic() > give_up:
                raise TimeoutError(f"job {n} of {count} did not start within {patience:g} s")
            await asyncio.sleep(0.001)
        late.append((at - asked) / 1e6)
    return {"ms": late}


def _start_of(n: int) -> int | None:
    """Return when a job started; one that ran twice is judged by its first run."""
    return next((at for number, at, _ in read_started(FOLDER) if number == n), None)


async def _long(peer: Peer) -> dict[str, Any]:
    await peer.submit("long", -1)
    return {}


def _about(peer: Peer) -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in peer.distributions},
        "settings": peer.settings,
        "source": peer.source,
        "runs": peer.runs,
        "has_bulk": peer.has_bulk,
        "commands": {str(n): peer.workers(n) for n in (1, 2)},
    }


async def serve(peer: Peer) -> None:
    """Answer orders until there are no more."""
    loop = asyncio.get_running_loop()
    orders = {"submit": _submit, "bulk": _bulk, "pickup": _pickup, "long": _long}
    # Queues may print what they like; answers alone go where they are expected.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with contextlib.closing(answers):
        await peer.open()
        print(json.dumps(_about(peer)), file=answers)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            answer = await orders[order.pop("do")](peer, **order)
            print(json.dumps(answer), file=answers)
        await peer.close()


def main() -> None:
    module = importlib.import_module(f"bench.peers.adapters.{sys.argv[1]}")
    try:
        asyncio.run(serve(module.PEER))
    except Exception:  # noqa: BLE001 - whatever a queue raises is told, and ends the agent
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
