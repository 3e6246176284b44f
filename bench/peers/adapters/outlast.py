"""Outlast itself, on whichever ledger the URL names."""

import sys

from bench.peers import witness
from bench.peers.agent import FOLDER, URL, Peer
from outlast import Outlast
from outlast.sdk.settings import Settings

app = Outlast()


@app.task(queue="bench")
async def noop(n: int) -> None:
    witness.done(n)


@app.task(queue="bench")
async def when(n: int) -> None:
    witness.started(n)


@app.task(queue="bench")
async def long(n: int) -> None:
    await witness.hang_async(n)


TASKS = {"noop": noop, "when": when, "long": long}


class OutlastPeer(Peer):
    """Every default."""

    distributions = ("outlast",)
    settings = "defaults: 4 attempts, result and history stored, lease 30 s"
    source = "docs/queues.md"
    runs = "async, up to the slots of its queue"
    has_bulk = True

    async def open(self) -> None:
        app.configure(Settings(ledger=URL, blobs=str(FOLDER / "blobs")))
        await app.open()

    async def close(self) -> None:
        await app.close()

    async def submit(self, task: str, n: int) -> None:
        await TASKS[task].submit(n=n)

    async def bulk(self, count: int) -> None:
        await noop.submit_batch({"n": n} for n in range(count))

    def workers(self, processes: int) -> list[list[str]]:
        place = ["--ledger", URL, "--blobs", f"{FOLDER}/blobs"]
        return [
            [sys.executable, "-m", "outlast", "worker", __file__, *place,
             "--processes", str(processes), "--json"]
        ]  # fmt: skip


PEER = OutlastPeer()
