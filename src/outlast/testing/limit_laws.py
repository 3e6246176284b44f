"""Laws of limits: at no instant more leases than a limit says, and every slot comes back."""
# ruff: noqa: D103 - a law's name says what it states

from collections.abc import Callable, Iterable
from typing import Any, Final

from outlast.core import transition as tr
from outlast.core.job import Lease, NewJob, Transition
from outlast.core.share import Limit, Rate
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import (
    AT_ONCE,
    ERROR,
    NOW,
    TTL,
    apply,
    claim,
    hire,
    ids,
    job,
    job_ids,
    row,
    submit,
)

PER: Final = 1_000_000
# For each kind of subject: a limited one, jobs that count against it, and jobs that don't.
KINDS: Final = {
    "queue:default": ({"queue": "default"}, {"queue": "free"}),
    "task:slow": ({"task": "slow"}, {"task": "fast"}),
    "tenant:acme": ({"tenant": "acme"}, {"tenant": "other"}),
    "key:user-1": ({"concurrency_key": "user-1"}, {"concurrency_key": "user-2"}),
}


async def limit(ledger: Ledger, subject: str, /, kind: str = "limit", **said: Any) -> None:
    """Set a limit."""
    await ledger.put(kind, subject, Limit(**said).text(), now=NOW)


def some(numbers: Iterable[int], **fields: Any) -> list[NewJob]:
    """Make jobs that are alike."""
    return [job(n, **fields) for n in numbers]


async def test_no_more_run_at_once_than_the_limit_says(ledger: Ledger) -> None:
    for subject in KINDS:
        await limit(ledger, subject, concurrency=2)
    await hire(ledger, "w1", "w2")
    for place, (bound, free) in enumerate(KINDS.values()):
        first = 100 * place
        await submit(ledger, *some(range(first, first + 5), **{"queue": "q", **bound}))
        await submit(ledger, *some(range(first + 5, first + 10), **{"queue": "q", **free}))
    await limit(ledger, "queue:q", concurrency=1_000)

    took = ids(await claim(ledger, "w1", queues=("q", "default", "free")))
    more = await claim(ledger, "w2", queues=("q", "default", "free"))

    for place in range(len(KINDS)):
        first = 100 * place
        assert sum(first <= int(one[-12:], 16) < first + 5 for one in took) == 2, place  # noqa: PLR2004
    assert len(took) == 4 * (2 + 5)
    assert more == []


async def test_a_batch_is_bound_as_single_claims_are(ledger: Ledger) -> None:
    await limit(ledger, "key:*", concurrency=3)
    await hire(ledger)
    await submit(ledger, *(job(n, concurrency_key=f"k{n % 4}") for n in range(40)))

    leases = await claim(ledger, limit=100)

    assert ids(leases) == job_ids(*range(12))


async def test_every_end_of_a_lease_frees_exactly_one_slot(ledger: Ledger) -> None:
    await limit(ledger, "key:k", concurrency=1)
    await hire(ledger)
    await submit(ledger, *some(range(20), concurrency_key="k"))
    await submit(ledger, job(99, concurrency_key="k", priority=-1))
    ends: list[Callable[[Lease], Transition]] = [
        lambda lease: tr.completed(lease, "1"),
        tr.released,
        lambda lease: tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0),
        lambda lease: tr.failed(lease, {**ERROR, "retryable": False}, backoff=AT_ONCE, dice=0.0),
        lambda lease: tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0, after_us=5),
        lambda lease: tr.lost(lease, reason="dead", at="", dice=0.0),
        lambda lease: tr.cancelled(lease, "asked"),
    ]
    for end in ends:
        (lease,) = await claim(ledger)
        assert await claim(ledger) == []

        await apply(ledger, end(lease))
        await apply(ledger, end(lease))  # a repeat is refused, and frees nothing

    assert len(await claim(ledger)) == 1
    assert await claim(ledger) == []


async def test_a_dead_workers_leases_count_until_they_are_taken_back(ledger: Ledger) -> None:
    await limit(ledger, "task:t", concurrency=2)
    await hire(ledger, "w1")
    await submit(ledger, *some(range(4)))
    await claim(ledger, "w1")
    await hire(ledger, "w2", now=NOW + TTL)

    orphans = await ledger.expired(10, now=NOW + TTL)
    assert await claim(ledger, "w2", now=NOW + TTL) == []
    await apply(ledger, tr.lost(orphans[0], reason="dead", at="", dice=0.0), now=NOW + TTL)

    assert len(await claim(ledger, "w2", now=NOW + TTL)) == 1


async def test_a_redriven_job_and_one_moved_here_are_bound_too(ledger: Ledger) -> None:
    await limit(ledger, "queue:tight", concurrency=1)
    await hire(ledger)
    await submit(ledger, job(1, queue="tight"), job(2), job(3, queue="tight"))
    await apply(ledger, tr.cancel(job_ids(3)[0], Status.PENDING, reason="r") or _none())
    await apply(
        ledger, Transition(job_ids(2)[0], Status.PENDING, None, None, "changed", queue="tight")
    )
    (first,) = await claim(ledger, queues=("tight", "default"))
    await apply(ledger, tr.redriven(job_ids(3)[0], Status.CANCELLED) or _none())

    assert await claim(ledger, queues=("tight", "default")) == []
    await apply(ledger, tr.completed(first, "1"))
    assert ids(await claim(ledger, queues=("tight",))) == job_ids(2)


async def test_a_lowered_limit_kills_nobody_and_lets_nobody_start_until_enough_ended(
    ledger: Ledger,
) -> None:
    await limit(ledger, "queue:default", concurrency=5)
    await hire(ledger)
    await submit(ledger, *some(range(20)))
    leases = await claim(ledger)
    assert len(leases) == 5  # noqa: PLR2004 - the limit

    await limit(ledger, "queue:default", concurrency=2)

    for lease in leases[:3]:
        assert await claim(ledger) == []
        assert (await apply(ledger, tr.completed(lease, "1")))[0].accepted
    assert await claim(ledger) == []
    await apply(ledger, tr.completed(leases[3], "1"))
    assert len(await claim(ledger)) == 1
    await ledger.put("limit", "queue:default", None, now=NOW)
    assert len(await claim(ledger)) == 14  # noqa: PLR2004 - the rest


async def test_a_limit_of_zero_stops_its_subject_and_no_other(ledger: Ledger) -> None:
    await limit(ledger, "key:stripe", concurrency=0)
    await hire(ledger)
    await submit(ledger, job(1, concurrency_key="stripe"), job(2, concurrency_key="paypal"), job(3))

    assert ids(await claim(ledger)) == job_ids(2, 3)


async def test_what_is_set_live_beats_what_code_declares_which_beats_the_default(
    ledger: Ledger,
) -> None:
    await hire(ledger)
    await submit(ledger, *some(range(10), task="slow"), *some(range(10, 20), task="other"))
    await limit(ledger, "task:*", concurrency=1)
    await limit(ledger, "task:slow", kind="declared", concurrency=2)
    assert ids(await claim(ledger)) == job_ids(0, 1, 10)

    await limit(ledger, "task:slow", concurrency=3)
    assert ids(await claim(ledger)) == job_ids(2)
    await ledger.put("limit", "task:slow", None, now=NOW)

    assert await claim(ledger) == []


async def test_the_default_of_keys_counts_the_key_of_each_tenant_by_itself(ledger: Ledger) -> None:
    await limit(ledger, "key:*", concurrency=2, rate=Rate(9, PER, burst=9))
    await hire(ledger)
    # Names that must not be taken for one another, however they are put together.
    named = [("a", "k"), ("b", "k"), ("", "k"), ("a:b", "c"), ("a", "b:c"), ("", "1:a:k")]
    for place, (tenant, key) in enumerate(named):
        numbers = range(10 * place, 10 * place + 9)
        await submit(ledger, *some(numbers, tenant=tenant, concurrency_key=key))

    leases = await claim(ledger, limit=100)

    assert sorted(int(lease.id[-12:], 16) // 10 for lease in leases) == sorted(2 * [*range(6)])
    await apply(ledger, *(tr.completed(one, "1") for one in leases if one.tenant == "b"))
    assert {lease.tenant for lease in await claim(ledger)} == {"b"}


async def test_the_default_rate_of_keys_holds_for_each_tenant_by_itself(ledger: Ledger) -> None:
    await limit(ledger, "key:*", rate=Rate(1, PER))
    await hire(ledger)
    await submit(ledger, *(job(n, tenant="ab"[n % 2], concurrency_key="k") for n in range(6)))
    assert ids(await claim(ledger)) == job_ids(0, 1)

    assert await claim(ledger, now=NOW + PER - 1) == []
    assert ids(await claim(ledger, now=NOW + PER)) == job_ids(2, 3)


async def test_a_key_with_a_limit_of_its_own_is_one_for_all_tenants(ledger: Ledger) -> None:
    await limit(ledger, "key:*", concurrency=1)
    await limit(ledger, "key:stripe", concurrency=3, rate=Rate(4, PER, burst=4))
    await hire(ledger)
    await submit(ledger, *(job(n, tenant="abc"[n % 3], concurrency_key="stripe") for n in range(9)))

    leases = await claim(ledger)
    assert ids(leases) == job_ids(0, 1, 2)
    await apply(ledger, *(tr.completed(lease, "1") for lease in leases))

    assert len(await claim(ledger)) == 1  # the rate


async def test_a_key_that_is_given_a_limit_counts_what_runs_of_every_tenant(ledger: Ledger) -> None:
    await limit(ledger, "key:*", concurrency=1)
    await hire(ledger)
    await submit(ledger, *(job(n, tenant="abc"[n % 3], concurrency_key="k") for n in range(9)))
    (first, *_) = await claim(ledger, limit=2)

    await limit(ledger, "key:k", concurrency=2)
    assert await claim(ledger) == []
    await limit(ledger, "key:k", concurrency=3)
    assert len(await claim(ledger)) == 1

    await ledger.put("limit", "key:k", None, now=NOW)
    await apply(ledger, tr.completed(first, "1"))
    assert {lease.tenant for lease in await claim(ledger)} == {first.tenant}


async def test_a_rate_is_never_exceeded_in_any_window(ledger: Ledger) -> None:
    await limit(ledger, "key:api", rate=Rate(3, PER))
    await hire(ledger)
    await submit(ledger, *some(range(100), concurrency_key="api"))
    starts: list[int] = []
    for now in range(NOW, NOW + 3 * PER, 37_003):
        starts += [now] * len(await claim(ledger, now=now))

    for at in starts:
        assert sum(at <= other < at + PER for other in starts) <= 3  # noqa: PLR2004 - the rate
    assert len(starts) >= 8  # noqa: PLR2004 - nor is it much below


async def test_a_burst_comes_at_once_and_then_the_rate_holds(ledger: Ledger) -> None:
    await limit(ledger, "queue:default", rate=Rate(2, PER, burst=3))
    await hire(ledger)
    await submit(ledger, *some(range(10)))

    assert len(await claim(ledger, limit=10)) == 3  # noqa: PLR2004 - the burst
    assert await claim(ledger, now=NOW + PER // 2 - 1) == []
    assert len(await claim(ledger, now=NOW + PER // 2)) == 1
    assert len(await claim(ledger, now=NOW + 10 * PER)) == 3  # noqa: PLR2004 - no more saved up


async def test_a_claim_says_when_a_rate_lets_more_start(ledger: Ledger) -> None:
    await limit(ledger, "task:t", rate=Rate(1, PER))
    await hire(ledger)
    assert (await claim(ledger)).again_us is None
    await submit(ledger, *some(range(3)))

    leases = await claim(ledger)

    assert (len(leases), leases.again_us) == (1, PER)
    later = await claim(ledger, now=NOW + 400_000)
    assert (later, later.again_us) == ([], PER - 400_000)
    assert len(await claim(ledger, now=NOW + PER)) == 1


async def test_a_rate_changed_live_counts_from_the_last_start(
    ledger: Ledger,
) -> None:
    await limit(ledger, "queue:default", rate=Rate(1, 1_000 * PER))
    await hire(ledger)
    await submit(ledger, *some(range(9)))
    assert len(await claim(ledger)) == 1

    await limit(ledger, "queue:default", rate=Rate(2, PER))
    assert len(await claim(ledger, now=NOW + PER)) == 1

    await limit(ledger, "queue:default", rate=Rate(1, 10 * PER))
    assert await claim(ledger, now=NOW + 11 * PER - 1) == []
    assert len(await claim(ledger, now=NOW + 11 * PER)) == 1


async def test_a_rate_counts_starts_also_those_of_retries(ledger: Ledger) -> None:
    await limit(ledger, "task:t", rate=Rate(1, PER))
    await hire(ledger)
    await submit(ledger, job(1))
    (lease,) = await claim(ledger)

    await apply(ledger, tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0))

    assert await claim(ledger, now=NOW + PER - 1) == []
    assert len(await claim(ledger, now=NOW + PER)) == 1


async def test_what_is_stopped_holds_up_no_neighbour_of_its_key_or_queue(ledger: Ledger) -> None:
    await limit(ledger, "task:slow", concurrency=0)
    await hire(ledger)
    await submit(
        ledger,
        *some(range(5), task="slow", concurrency_key="k"),
        job(5, task="fast", concurrency_key="k"),
        *some(range(6, 9), task="slow", priority=9),
        job(9),
    )

    assert ids(await claim(ledger)) == job_ids(5, 9)
    assert (await row(ledger, 0)).status is Status.PENDING


def _none() -> Transition:
    raise AssertionError("core says that nothing is to be done")
