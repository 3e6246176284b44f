"""Dead letters are grouped by error alone, wherever they are told."""

from dataclasses import replace

import pytest

from outlast.core import transition
from outlast.core.failure import fingerprint
from outlast.core.job import NewJob, Want
from outlast.core.retry import DEFAULT_BACKOFF
from outlast.ledger.memory import MemoryLedger
from outlast.sdk import dead
from outlast.sdk.dead import DEAD, fastest, groups_of, recent_deaths
from outlast.system import CLOCK, new_id

DEATHS = [("a", "row 1"), ("a", "other"), ("b", "row 2"), ("b", "other"), ("c", "row 3")]


@pytest.fixture
async def ledger():
    """Give a ledger with dead letters of two errors, in three tasks."""
    ledger = MemoryLedger()
    await ledger.put("worker", "w", "{}", ttl_us=60_000_000)
    for task, message in DEATHS:
        await ledger.insert([NewJob(id=new_id(), task=task, tenant=task)])
        (lease,) = await ledger.claim(Want("w", ("default",), 1))
        error = {"type": "E", "message": message, "retryable": False}
        error["fingerprint"] = fingerprint("E", message)
        await ledger.commit([transition.failed(lease, error, backoff=DEFAULT_BACKOFF, dice=0.0)])
    return ledger


async def partitions(ledger):
    groups = await groups_of(ledger)
    deaths = dead.fastest(await recent_deaths(ledger, CLOCK.now_us()))
    return (
        [(group.fingerprint, group.count) for group in groups],
        [(deaths_of[0].fingerprint, len(deaths_of)) for deaths_of in deaths],
    )


async def test_what_is_counted_and_what_grows_are_grouped_alike(ledger):
    counted, growing = await partitions(ledger)

    assert counted == growing == [(fingerprint("E", "row 7"), 3), (fingerprint("E", "other"), 2)]


async def test_a_group_tells_its_newest_and_its_oldest(ledger):
    group, _ = await groups_of(ledger)
    own = await groups_of(ledger, replace(DEAD, tenant="b"))

    assert (group.oldest.task, group.newest.task) == ("a", "c")
    assert [(one.count, one.newest.tenant) for one in own] == [(1, "b"), (1, "b")]


async def test_a_growth_that_is_grouped_by_task_too_is_caught(ledger, monkeypatch):
    by_task = [[death] for death in await recent_deaths(ledger, CLOCK.now_us())]
    assert len(by_task) > len(fastest([death for group in by_task for death in group]))
    monkeypatch.setattr(dead, "fastest", lambda _: by_task)

    counted, growing = await partitions(ledger)

    assert counted != growing
