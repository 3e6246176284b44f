"""A pool under limits waits for a rate as long as it must, and learns of a free slot at once."""

import asyncio
from itertools import pairwise

import pytest

from outlast.core.errors import InvalidInputError
from outlast.core.job import Leases
from outlast.worker.intake import until_again
from tests.worker.rig import has_event, new_app, running


def test_a_pool_wakes_when_a_rate_lets_more_start():
    leases = Leases()
    assert until_again(leases, 1.0) == 1

    leases.note(5_200_000, 5_000_000)
    leases.note(5_100_000, 5_000_000)

    assert until_again(leases, 1.0) == pytest.approx(0.101)


async def test_a_task_s_rate_spaces_its_starts_over_all_pools(tmp_path):
    async with new_app(tmp_path) as app:

        @app.task(rate="20/s")
        async def call(n: int) -> int:
            return n

        async with running(app), running(app):
            handles = [await call.submit(n=n) for n in range(5)]
            for handle in handles:
                await handle.result(timeout=20)
        starts = [event.at for event in await app.ledger.history(None, type="started")]

    assert len(starts) == 5
    assert all(later - at >= 50_000 for at, later in pairwise(starts))


async def test_a_slot_that_is_freed_is_taken_at_once_by_another_pool(tmp_path):
    async with new_app(tmp_path) as app:
        gate = asyncio.Event()

        @app.task(concurrency=1)
        async def hold(n: int) -> int:
            if n == 0:
                await gate.wait()
            return n

        async with running(app, holder="a"), running(app, holder="b"):
            first, second = await hold.submit(n=0), await hold.submit(n=1)
            await has_event(app, first, "started")
            assert (await second.status()).status == "pending"
            gate.set()
            assert await second.result(timeout=20) == 1


@pytest.mark.parametrize("said", [{"concurrency": -1}, {"rate": "often"}, {"concurrency": "2"}])
def test_a_limit_that_can_not_be_kept_is_refused_when_the_task_is_registered(tmp_path, said):
    app = new_app(tmp_path)

    with pytest.raises(InvalidInputError, match=next(iter(said))):
        app.task(**said)(lambda: None)
