"""Wake-ups between tasks and ledgers."""

import asyncio
import tempfile

import pytest
from ledger_fixtures import job

from outlast.core.errors import UnavailableError
from outlast.ledger import open_ledger


async def test_one_listener_never_swallows_another_s_ring(ledger):
    async def caught_up():
        await ledger.bell.wait(0)  # hears whatever was before
        await ledger.bell.wait(0)

    async def listen(ready, go):
        await caught_up()
        ready.set()
        await go.wait()
        await ledger.bell.wait(10)

    go = asyncio.Event()
    readies = [asyncio.Event() for _ in range(2)]
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for ready in readies:
            group.create_task(listen(ready, go))
        for ready in readies:
            await ready.wait()
        await ledger.insert([job()])
        await caught_up()
        await ledger.docs("worker")
        go.set()  # neither waited when it rang; both hear it all the same


async def test_a_folder_too_deep_for_sockets_is_told_with_what_to_do(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    ledger = open_ledger(f"sqlite:///{tmp_path}/outlast.db")

    with pytest.raises(UnavailableError, match="TMPDIR"):
        await ledger.bell.wait(0)

    await ledger.close()
