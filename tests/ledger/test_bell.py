"""Wake-ups between tasks and ledgers."""

import asyncio

from ledger_fixtures import job


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
