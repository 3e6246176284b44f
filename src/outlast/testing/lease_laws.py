"""Laws of claiming and of leases: one holder at a time, and the stale never win."""
# ruff: noqa: D103 - a law's name says what it states

import asyncio
import json

from outlast.core import transition as tr
from outlast.core.job import Transition
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import (
    AT_ONCE,
    ERROR,
    NOW,
    TTL,
    apply,
    claim,
    held,
    hire,
    history,
    ids,
    job,
    job_id,
    job_ids,
    row,
    submit,
)


async def test_higher_priority_first_then_oldest(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(
        ledger, job(1), job(2, priority=5), job(3), job(4, priority=5), job(5, priority=-1)
    )

    leases = await claim(ledger)

    assert ids(leases) == job_ids(2, 4, 1, 3, 5)


async def test_queues_are_served_in_the_order_asked(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, queue="abc"[n % 3], priority=n) for n in range(9)))

    leases = await claim(ledger, limit=4, queues=("c", "a"))

    assert ids(leases) == job_ids(8, 5, 2, 6)


async def test_a_job_is_claimed_once(ledger: Ledger) -> None:
    await hire(ledger, "w1", "w2")
    await submit(ledger, *(job(n) for n in range(40)))

    batches = await asyncio.gather(*(claim(ledger, who, 7) for who in ("w1", "w2") * 6))

    assert sorted(lease.id for batch in batches for lease in batch) == job_ids(*range(40))


async def test_a_claim_is_told_alike_by_lease_row_and_history(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1, max_attempts=7), now=NOW + 3)

    taken, (_, started) = await row(ledger, 1), await history(ledger, 1)

    assert (lease.token, lease.attempt, lease.max_attempts, lease.holder) == (1, 1, 7, "w1")
    assert (taken.status, taken.token, taken.attempt) == (Status.PROCESSING, 1, 1)
    assert (taken.holder, taken.started_at, taken.seq) == ("w1", NOW + 3, 2)
    assert (started.seq, started.type, started.at) == (2, "started", NOW + 3)
    assert json.loads(started.data) == {"attempt": 1, "token": 1, "worker": "w1"}


async def test_a_holder_of_any_name_leaves_a_readable_history(ledger: Ledger) -> None:
    name = 'w"\\☃'
    await held(ledger, job(1), holder=name)

    (_, started) = await history(ledger, 1)

    assert json.loads(started.data)["worker"] == name


async def test_only_a_registered_worker_may_claim(ledger: Ledger) -> None:
    await submit(ledger, job(1))
    await hire(ledger, "gone")
    await ledger.extend(["gone"], 0, now=NOW)

    assert await claim(ledger, "stranger") == []
    assert await claim(ledger, "gone") == []
    assert (await row(ledger, 1)).status is Status.PENDING


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1), job(2, queue="open"))
    await ledger.put("queue", "default", '{"paused": true}', now=NOW)
    assert ids(await claim(ledger, queues=("default", "open"))) == job_ids(2)

    await ledger.put("queue", "default", '{"paused": false}', now=NOW)

    assert ids(await claim(ledger)) == job_ids(1)


async def test_a_job_starts_before_it_expires_or_never(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1, expires_in_us=5), job(2, expires_in_us=6))

    assert ids(await claim(ledger, now=NOW + 5)) == job_ids(2)


async def test_a_job_for_later_starts_only_when_due(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1, delay_us=5))
    assert await claim(ledger, now=NOW + 9) == []

    await apply(ledger, tr.due(await row(ledger, 1)), now=NOW + 9)

    assert ids(await claim(ledger, now=NOW + 9)) == job_ids(1)


async def test_a_stale_token_never_commits(ledger: Ledger) -> None:
    (old,) = await held(ledger, job(1))
    await hire(ledger, "w2")
    await apply(ledger, tr.lost(old, reason="frozen", at="", dice=0.0))
    (new,) = await claim(ledger, "w2")
    before = await row(ledger, 1)

    verdicts = await apply(
        ledger,
        tr.completed(old, '"stale"'),
        tr.failed(old, ERROR, backoff=AT_ONCE, dice=0.0),
        tr.released(old),
        tr.lost(old, reason="again", at="", dice=0.0),
        tr.cancelled(old, "stale"),
        tr.amended(old, "progress", "{}", progress="{}"),
        tr.amended(old, "artifact", "{}", artifact='{"name": "stale"}'),
    )

    assert not any(verdict.accepted for verdict in verdicts)
    assert await row(ledger, 1) == before
    (fresh,) = await apply(ledger, tr.completed(new, '"fresh"'))
    assert fresh.accepted


async def test_a_stale_reaper_never_overwrites_a_completion(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    (read_by_reaper,) = await ledger.expired(10, now=NOW + TTL)
    await apply(ledger, tr.completed(lease, "1"), now=NOW + TTL)

    (verdict,) = await apply(ledger, tr.lost(read_by_reaper, reason="late", at="", dice=0.0))

    assert (verdict.accepted, verdict.status) == (False, Status.COMPLETED)
    assert (await row(ledger, 1)).result == "1"


async def test_a_job_ends_once_whoever_tries(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))

    answers = await asyncio.gather(
        *(apply(ledger, tr.completed(lease, str(n))) for n in range(10)),
        *(apply(ledger, tr.cancelled(lease, "x")) for _ in range(10)),
    )

    assert sum(verdict.accepted for (verdict,) in answers) == 1
    ends = [e for e in await history(ledger, 1) if e.type in {"completed", "cancelled"}]
    assert len(ends) == 1


async def test_what_never_started_never_completes(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.released(lease))

    (verdict,) = await apply(ledger, tr.completed(lease, "1"))

    assert (verdict.accepted, verdict.status, verdict.token) == (False, Status.PENDING, 1)
    assert (await row(ledger, 1)).result is None


async def test_the_source_is_compared_whatever_the_target(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))

    for source in set(Status) - {Status.PROCESSING}:
        for target in (Status.COMPLETED, Status.FAILED, Status.PENDING, None):
            change = Transition(lease.id, source, lease.token, target, "noted")
            (verdict,) = await apply(ledger, change)
            assert (verdict.accepted, verdict.status) == (False, Status.PROCESSING)


async def test_a_lease_renewed_in_time_is_never_taken(ledger: Ledger) -> None:
    await held(ledger, job(1))
    assert await ledger.extend(["w1"], TTL, now=NOW + TTL - 1) == []

    assert await ledger.expired(10, now=NOW + 2 * TTL - 2) == []
    assert len(await ledger.expired(10, now=NOW + 2 * TTL - 1)) == 1


async def test_a_lease_that_runs_is_never_taken(ledger: Ledger) -> None:
    await held(ledger, job(1))

    assert await ledger.expired(10, now=NOW + TTL - 1) == []
    assert await ledger.extend(["w1"], TTL, now=NOW + TTL - 1) == []


async def test_an_expired_lease_can_not_be_renewed(ledger: Ledger) -> None:
    await held(ledger, job(1))
    await hire(ledger, "w2", now=NOW + 1)
    await ledger.expired(10, now=NOW + TTL)

    assert await ledger.extend(["w1", "w2"], TTL, now=NOW + TTL) == ["w1"]
    assert ids(await ledger.expired(10, now=NOW + TTL)) == job_ids(1)
    assert await claim(ledger, "w1", now=NOW + TTL) == []


async def test_a_ttl_of_zero_gives_the_leases_up_at_once(ledger: Ledger) -> None:
    await held(ledger, job(1))

    assert await ledger.extend(["w1"], 0, now=NOW) == []

    assert ids(await ledger.expired(10, now=NOW)) == job_ids(1)
    assert await ledger.extend(["w1"], TTL, now=NOW) == ["w1"]


async def test_a_worker_that_was_never_registered_can_not_renew(ledger: Ledger) -> None:
    assert await ledger.extend(["stranger"], TTL, now=NOW) == ["stranger"]


async def test_the_jobs_of_a_forgotten_worker_are_found(ledger: Ledger) -> None:
    await held(ledger, job(1))
    await ledger.put("worker", "w1", None, now=NOW)

    assert ids(await ledger.expired(10, now=NOW)) == job_ids(1)


async def test_the_reaper_sees_the_current_lease(ledger: Ledger) -> None:
    (first,) = await held(ledger, job(1))
    await apply(ledger, tr.released(first))
    (second,) = await claim(ledger)

    (seen,) = await ledger.expired(10, now=NOW + TTL)

    assert seen == second
    (verdict,) = await apply(ledger, tr.lost(seen, reason="dead", at="", dice=0.0))
    assert verdict.accepted


async def test_the_reaper_takes_the_oldest_first_and_no_more_than_asked(ledger: Ledger) -> None:
    await held(ledger, *(job(n, priority=n) for n in range(5)))

    assert ids(await ledger.expired(3, now=NOW + TTL)) == job_ids(0, 1, 2)


async def test_a_repeated_reap_takes_nothing_twice(ledger: Ledger) -> None:
    await held(ledger, job(1))
    (lease,) = await ledger.expired(10, now=NOW + TTL)
    (again,) = await ledger.expired(10, now=NOW + TTL)

    verdicts = await apply(
        ledger,
        tr.lost(lease, reason="a", at="", dice=0.0),
        tr.lost(again, reason="b", at="", dice=0.0),
    )

    assert [verdict.accepted for verdict in verdicts] == [True, False]
    assert (await row(ledger, 1)).lost == 1
    assert await ledger.expired(10, now=NOW + TTL) == []
    assert (await row(ledger, 1)).id == job_id(1)


async def test_of_two_completions_in_one_call_the_first_counts(ledger: Ledger) -> None:
    first, second = await held(ledger, job(1), job(2))

    verdicts = await apply(
        ledger, tr.completed(first, "1"), tr.completed(second, "2"), tr.completed(first, "3")
    )

    assert [(v.accepted, v.seq) for v in verdicts] == [(True, 3), (True, 3), (False, 0)]
    assert [(await row(ledger, n)).result for n in (1, 2)] == ["1", "2"]
    assert [event.type for event in await ledger.history(first.id, after=2)] == ["completed"]
