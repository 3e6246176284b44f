"""Laws of quotas: how many jobs of a tenant may wait, whatever the queues, and of no other."""
# ruff: noqa: D103 - a law's name says what it states

import asyncio

from outlast.core.job import Filter
from outlast.core.share import Limit
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import NOW, claim, hire, ids, job, job_ids, rows, submit


async def bound(ledger: Ledger, tenant: str, max_depth: int | None) -> None:
    """Say how many jobs of a tenant may wait; None takes it back."""
    text = None if max_depth is None else Limit(max_depth=max_depth).text()
    await ledger.put("limit", f"tenant:{tenant}", text)


async def test_a_quota_is_never_exceeded(ledger: Ledger) -> None:
    await bound(ledger, "a", 5)

    answers = await asyncio.gather(*(submit(ledger, job(n, tenant="a")) for n in range(20)))

    assert sorted(answer.outcome for (answer,) in answers) == ["created"] * 5 + ["quota"] * 15
    assert await ledger.count(Filter(tenant="a"), "") == {(): 5}


async def test_a_quota_counts_what_waits_of_its_tenant_in_every_queue(ledger: Ledger) -> None:
    await bound(ledger, "a", 2)
    outcomes = await submit(
        ledger,
        job(0, tenant="b"),
        job(1),
        job(2, tenant="a", queue="other"),
        job(3, tenant="a", delay_us=5),
        job(4, tenant="a"),
        job(5, tenant="b"),
        job(6),
    )

    assert [made.outcome for made in outcomes] == ["created"] * 4 + ["quota"] + ["created"] * 2


async def test_what_was_started_makes_room_in_a_quota(ledger: Ledger) -> None:
    await hire(ledger)
    await bound(ledger, "a", 1)
    await submit(ledger, job(1, tenant="a"))
    await claim(ledger)

    (second,) = await submit(ledger, job(2, tenant="a"))
    (third,) = await submit(ledger, job(3, tenant="a"))

    assert (second.outcome, third.outcome) == ("created", "quota")


async def test_a_quota_for_each_tenant_holds_for_those_without_one(ledger: Ledger) -> None:
    await bound(ledger, "*", 1)
    await bound(ledger, "big", 3)
    made = [job(n, tenant=name) for n, name in enumerate(["a", "a", "b", "big", "big", "big"])]

    outcomes = await submit(ledger, *made, job(7), job(8))

    assert [one.outcome for one in outcomes] == ["created", "quota"] + ["created"] * 6


async def test_a_quota_that_is_taken_back_bounds_nobody(ledger: Ledger) -> None:
    await bound(ledger, "a", 0)
    (before,) = await submit(ledger, job(1, tenant="a"))
    await bound(ledger, "a", None)

    (after,) = await submit(ledger, job(2, tenant="a"))

    assert (before.outcome, after.outcome) == ("quota", "created")


async def test_what_a_quota_refused_does_not_take_its_key(ledger: Ledger) -> None:
    await bound(ledger, "a", 0)
    await submit(ledger, job(1, tenant="a", key="k", fingerprint="f"))
    await bound(ledger, "a", 1)

    (other,) = await submit(ledger, job(2, tenant="a", key="k", fingerprint="g"))

    assert (other.id, other.outcome) == (job_ids(2)[0], "created")


async def test_an_atomic_batch_over_a_quota_is_not_stored(ledger: Ledger) -> None:
    await bound(ledger, "a", 2)

    made = [job(n, tenant="a") for n in range(3)]
    outcomes = await ledger.insert(made, atomic=True, now=NOW)

    assert [one.outcome for one in outcomes] == ["aborted", "aborted", "quota"]
    assert await rows(ledger) == []


async def test_a_repeat_is_a_duplicate_although_its_quota_is_full_by_now(ledger: Ledger) -> None:
    await bound(ledger, "a", 1)
    await submit(ledger, job(1, tenant="a", key="k"))

    by_id, by_key, new = await submit(
        ledger, job(1, tenant="a"), job(2, tenant="a", key="k"), job(3, tenant="a")
    )

    assert (by_id.outcome, by_key.outcome, new.outcome) == ("duplicate", "duplicate", "quota")
    assert ids(await rows(ledger)) == job_ids(1)
