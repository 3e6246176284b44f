"""PostgreSQL does what it is asked and the answer is lost: asking again makes nothing twice."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from outlast import Outlast
from outlast.core import transition as tr
from outlast.core.errors import UnavailableError, WaitTimeoutError
from outlast.core.job import Filter, NewJob, Want
from outlast.core.limits import LEASE_US
from outlast.core.retry import DEFAULT_BACKOFF
from outlast.core.status import Status
from outlast.ledger import open_ledger
from outlast.system import new_id
from outlast.worker.pool import Pool
from tests.reliability.network import network
from tests.worker.rig import DEADLINE_S, assert_told, running, types

ERROR = {"type": "ValueError", "message": "row 17", "retryable": True}
CHANGES = {
    "completed": lambda lease: tr.completed(lease, "1"),
    "failed": lambda lease: tr.failed(lease, ERROR, backoff=DEFAULT_BACKOFF, dice=0.5),
    "released": tr.released,
    "cancelled": lambda lease: tr.cancelled(lease, "asked"),
}


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "t", **fields})


@asynccontextmanager
async def near_and_far(url, connections=1):
    """A ledger that is heard, one whose answers may be lost, and the network before it."""
    async with network(url) as between:
        near, far = open_ledger(url), open_ledger(f"{between.url}&pool={connections}")
        await near.put("worker", "w", "{}", ttl_us=LEASE_US)
        try:
            yield near, far, between
        finally:
            await far.close()
            await near.close()


@pytest.mark.fault("F35")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_transition_whose_answer_was_lost_stands_once_and_is_refused_again(
    migrated, change
):
    async with near_and_far(migrated) as (near, far, between):
        # The connection is there, and knows the statements.
        await far.insert([job()])
        (first,) = await far.claim(Want("w", ("default",), 1))
        await far.commit([change(first)])
        await near.insert([job(priority=1)])
        (lease,) = await far.claim(Want("w", ("default",), 1))

        async def is_done():
            (row,) = await near.get([lease.id])
            return row.status is not Status.PROCESSING

        await asyncio.wait([far.bell._mouth])  # else it would have the connection
        between.answers.clear()
        (lost,) = await between.unheard(far.commit([change(lease)]), is_done)
        after = await near.history(lease.id)
        (again,) = await far.commit([change(lease)])

        assert isinstance(lost, UnavailableError)
        assert not again.accepted
        assert await near.history(lease.id) == after
        assert len(after) == 3


@pytest.mark.fault("F35")
async def test_a_submit_whose_answer_was_lost_is_asked_for_again_and_there_once(migrated):
    async with near_and_far(migrated) as (near, far, between):
        await far.insert([job(key="other", fingerprint="f")])
        asked = job(key="k", fingerprint="f")

        async def is_done():
            return await near.get([asked.id]) != [None]

        await asyncio.wait([far.bell._mouth])
        between.deaf_at = b"COMMIT\0"
        (lost,) = await between.unheard(far.insert([asked]), is_done)
        (same,) = await far.insert([asked])
        (later,) = await far.insert([job(key="k", fingerprint="f")])

        assert isinstance(lost, UnavailableError)
        assert [(made.id, made.outcome) for made in (same, later)] == [(asked.id, "duplicate")] * 2
        assert await near.count(Filter(), "") == {(): 2}


@pytest.mark.fault("F35")
async def test_a_submit_without_a_key_whose_answer_was_lost_can_be_repeated_as_the_same_job(
    migrated,
):
    async with near_and_far(migrated) as (near, far, between):
        await far.insert([job()])
        asked = job()

        async def is_done():
            return await near.get([asked.id]) != [None]

        await asyncio.wait([far.bell._mouth])  # else it would have the connection
        between.answers.clear()
        (lost,) = await between.unheard(far.insert([asked]), is_done)
        (same,) = await far.insert([asked])

        assert isinstance(lost, UnavailableError)
        assert same.id == asked.id
        assert await near.count(Filter(), "") == {(): 2}


async def worked_after_a_claim_that_was_not_heard(url):
    """Let a pool's claim be done and its answer be lost; return the job's history."""
    app = Outlast(ledger=url)

    @app.task
    async def work(n: int) -> int:
        return n

    async with app, near_and_far(url, 6) as (near, far, between), running(app, ledger=far):
        # The pool's connections are there, and know the statements.
        assert await (await work.submit(n=1)).result(DEADLINE_S) == 1
        for _ in range(20):
            between.answers.clear()
            handle = await work.submit(n=7)
            # Unless a claim that came before the job is what is held back.
            was_claimed = await is_claimed_soon(near, handle)
            between.reset()
            between.answers.set()
            assert await handle.result(8) == 7
            if was_claimed:
                break
        await assert_told(near, handle.id)
        return await types(app, handle)


async def is_claimed_soon(near, handle):
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while (await near.get([handle.id]))[0].status is not Status.PROCESSING:
                await near.bell.wait(0.02)
            return True
    return False


@pytest.mark.fault("F35")
async def test_what_a_claim_took_whose_answer_was_lost_is_given_back_at_once(migrated):
    assert await worked_after_a_claim_that_was_not_heard(migrated) == [
        "submitted", "started", "released", "started", "completed",
    ]  # fmt: skip


async def test_a_pool_that_does_not_ask_what_went_astray_is_caught(migrated, monkeypatch):
    async def nothing(self):
        self._astray = False

    monkeypatch.setattr(Pool, "_give_back_astray", nothing)

    with pytest.raises(WaitTimeoutError):
        await worked_after_a_claim_that_was_not_heard(migrated)
