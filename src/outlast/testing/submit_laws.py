"""Laws of submitting: nothing is changed on the way, keys are unique, bounds hold."""
# ruff: noqa: D103 - a law's name says what it states

import asyncio
import json

from outlast.core import transition as tr
from outlast.core.job import Filter, Transition
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import (
    NOW,
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
    rows,
    submit,
)

NASTY = "ünï ☃ 𝒳 e\u0301 \u2028 \u202e \ufeff \x7f \\ \" ' %_ `; DROP TABLE job; -- \t\r\n"


async def test_what_goes_in_comes_out(ledger: Ledger) -> None:
    args = json.dumps({NASTY: [2**70, 1e300, -0.0, None, True, {"": NASTY}]}, ensure_ascii=False)
    escaped = json.dumps({"text": NASTY + "\x00"})
    await hire(ledger)
    await submit(
        ledger,
        job(1, args=args, task=NASTY, queue=NASTY, tenant=NASTY, key=NASTY),
        job(2, args=escaped, queue=NASTY, tags=json.dumps([NASTY]), concurrency_key=NASTY),
    )

    first, second = await rows(ledger)
    lease, _ = await claim(ledger, queues=(NASTY,))

    assert (first.args, second.args, lease.args) == (args, escaped, args)
    assert (first.task, first.queue, first.tenant, first.key) == (NASTY,) * 4
    assert (second.tags, second.concurrency_key) == (json.dumps([NASTY]), NASTY)
    assert (lease.task, lease.queue, lease.tenant, lease.key) == (NASTY,) * 4
    (submitted, _) = await history(ledger, 1)
    assert json.loads(submitted.data) == {"queue": NASTY, "task": NASTY, "delayed": False}


async def test_a_new_row_says_what_was_asked(ledger: Ledger) -> None:
    await submit(ledger, job(1, priority=7, max_attempts=9, timeout_us=5, expires_in_us=11))

    made = await row(ledger, 1)

    assert (made.priority, made.max_attempts, made.timeout_us) == (7, 9, 5)
    assert (made.submitted_at, made.expires_at) == (NOW, NOW + 11)
    assert (made.attempt, made.token, made.lost, made.run, made.seq) == (0, 0, 0, 1, 1)
    assert (made.started_at, made.finished_at, made.holder) == (None, None, None)
    assert (made.result, made.error, made.progress, made.artifacts) == (None, None, None, "[]")


async def test_numbers_follow_the_order_of_insertion(ledger: Ledger) -> None:
    await submit(ledger, job(3), job(1))
    await submit(ledger, job(2))

    assert [(made.id, made.number) for made in await rows(ledger)] == [
        (job_id(3), 1),
        (job_id(1), 2),
        (job_id(2), 3),
    ]


async def test_a_job_for_later_is_scheduled(ledger: Ledger) -> None:
    await submit(
        ledger, job(1), job(2, delay_us=5), job(3, run_at_us=NOW + 7), job(4, run_at_us=NOW - 7)
    )

    assert [(made.status, made.run_at) for made in await rows(ledger)] == [
        (Status.PENDING, NOW),
        (Status.SCHEDULED, NOW + 5),
        (Status.SCHEDULED, NOW + 7),
        (Status.PENDING, NOW),
    ]


async def test_the_first_event_tells_what_was_submitted(ledger: Ledger) -> None:
    await submit(ledger, job(1, queue="q", delay_us=1))

    (event,) = await history(ledger, 1)

    assert (event.seq, event.type, event.at, event.job_id) == (1, "submitted", NOW, job_id(1))
    assert json.loads(event.data) == {"queue": "q", "task": "t", "delayed": True}


async def test_a_repeated_key_gives_the_first_job(ledger: Ledger) -> None:
    await submit(ledger, job(1, key="k", fingerprint="f"))

    (again,) = await submit(ledger, job(2, key="k", fingerprint="f"), now=NOW + 5)

    assert (again.id, again.outcome, again.at_us) == (job_id(1), "duplicate", NOW)
    assert ids(await rows(ledger)) == [job_id(1)]


async def test_a_key_with_another_request_is_a_conflict(ledger: Ledger) -> None:
    await submit(ledger, job(1, key="k", fingerprint="f"))

    (other,) = await submit(ledger, job(2, key="k", fingerprint="g"))

    assert (other.id, other.outcome) == (job_id(1), "conflict")
    assert ids(await rows(ledger)) == [job_id(1)]


async def test_keys_of_different_tenants_are_apart(ledger: Ledger) -> None:
    outcomes = await submit(
        ledger, *(job(n, key="k", tenant=t, fingerprint=t) for n, t in enumerate(("", "a", "b")))
    )

    assert [made.outcome for made in outcomes] == ["created"] * 3


async def test_a_key_holds_within_one_call(ledger: Ledger) -> None:
    outcomes = await submit(ledger, job(1, key="k"), job(2, key="k"))

    assert [(made.id, made.outcome) for made in outcomes] == [
        (job_id(1), "created"),
        (job_id(1), "duplicate"),
    ]


async def test_a_key_is_forgotten_after_its_time_and_not_before(ledger: Ledger) -> None:
    await submit(ledger, job(1, key="k", key_ttl_us=10))

    (before,) = await submit(ledger, job(2, key="k"), now=NOW + 9)
    (after,) = await submit(ledger, job(3, key="k", fingerprint="new"), now=NOW + 10)
    (again,) = await submit(ledger, job(4, key="k", fingerprint="new"), now=NOW + 11)

    assert [(x.id, x.outcome) for x in (before, after, again)] == [
        (job_id(1), "duplicate"),
        (job_id(3), "created"),
        (job_id(3), "duplicate"),
    ]


async def test_a_key_outlives_the_end_of_its_job(ledger: Ledger) -> None:
    await submit(ledger, job(1, key="k", key_ttl_us=100))
    await ledger.prune(NOW + 51, 10, ids=job_ids(1), now=NOW + 50)

    (again,) = await submit(ledger, job(2, key="k"), now=NOW + 50)

    assert (again.id, again.outcome) == (job_id(1), "duplicate")


async def test_fifty_submits_with_one_key_make_one_job(ledger: Ledger) -> None:
    answers = await asyncio.gather(*(submit(ledger, job(n, key="k")) for n in range(50)))

    assert len({answer.id for (answer,) in answers}) == 1
    assert sorted(answer.outcome for (answer,) in answers) == ["created"] + ["duplicate"] * 49
    assert await ledger.count(Filter(), "") == {(): 1}


async def test_a_repeated_id_changes_nothing(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1, args='{"n": 1}'))
    before = await row(ledger, 1)

    (again,) = await submit(ledger, job(1, args='{"n": 2}'), now=NOW + 5)

    assert (again.id, again.outcome, again.at_us) == (lease.id, "duplicate", NOW)
    assert await row(ledger, 1) == before


async def test_depth_is_never_exceeded(ledger: Ledger) -> None:
    answers = await asyncio.gather(*(submit(ledger, job(n, max_depth=5)) for n in range(20)))

    assert sorted(answer.outcome for (answer,) in answers) == ["created"] * 5 + ["full"] * 15
    assert await ledger.count(Filter(), "") == {(): 5}


async def test_depth_counts_what_waits_in_that_queue(ledger: Ledger) -> None:
    await held(ledger, job(1))
    outcomes = await submit(
        ledger,
        job(2, queue="other"),
        job(3, max_depth=2, delay_us=5),
        job(4, max_depth=2),
        job(5, max_depth=2),
        job(6),
    )

    assert [x.outcome for x in outcomes] == ["created", "created", "created", "full", "created"]


async def test_a_refused_job_does_not_take_its_key(ledger: Ledger) -> None:
    await submit(ledger, job(1, max_depth=0, key="k", fingerprint="f"))

    (other,) = await submit(ledger, job(2, key="k", fingerprint="g"))

    assert (other.id, other.outcome) == (job_id(2), "created")


async def test_an_atomic_batch_is_stored_whole_or_not_at_all(ledger: Ledger) -> None:
    await submit(ledger, job(1, key="old", fingerprint="f"))
    batch = [job(2, key="new"), job(3, key="old", fingerprint="g"), job(4)]

    refused = await ledger.insert(batch, atomic=True, now=NOW)

    assert [made.outcome for made in refused] == ["aborted", "conflict", "aborted"]
    assert ids(await rows(ledger)) == [job_id(1)]
    assert len(await ledger.history(None)) == 1
    stored = await ledger.insert([job(5, key="new", fingerprint="h"), job(4)], atomic=True, now=NOW)
    assert [made.outcome for made in stored] == ["created"] * 2
    assert ids(await rows(ledger)) == job_ids(1, 5, 4)


async def test_an_atomic_batch_that_overfills_a_queue_is_not_stored(ledger: Ledger) -> None:
    outcomes = await ledger.insert([job(n, max_depth=2) for n in range(3)], atomic=True, now=NOW)

    assert [made.outcome for made in outcomes] == ["aborted", "aborted", "full"]
    assert await rows(ledger) == []


async def test_a_batch_that_is_not_atomic_stores_what_it_may(ledger: Ledger) -> None:
    outcomes = await submit(ledger, job(1), job(2, max_depth=1), job(3))

    assert [made.outcome for made in outcomes] == ["created", "full", "created"]
    assert ids(await rows(ledger)) == job_ids(1, 3)


async def test_a_repeated_id_is_a_duplicate_although_its_queue_is_full_by_now(
    ledger: Ledger,
) -> None:
    await submit(ledger, job(1, max_depth=2), job(2, max_depth=2))

    again, new = await submit(ledger, job(1, max_depth=2), job(3, max_depth=2), now=NOW + 5)

    assert (again.outcome, again.at_us) == ("duplicate", NOW)
    assert new.outcome == "full"


async def test_a_job_that_is_moved_to_an_instant_runs_then_whenever_that_was_said(
    ledger: Ledger,
) -> None:
    await submit(ledger, job(1), job(2, delay_us=5))
    states = zip(job_ids(1, 2), (Status.PENDING, Status.SCHEDULED), strict=True)
    changes = (Transition(id_, state, None, None, "changed") for id_, state in states)

    await apply(ledger, *(tr.moved(change, 70, NOW + 70) for change in changes), now=NOW + 3)

    assert [(await row(ledger, n)).run_at for n in (1, 2)] == [NOW + 70, NOW + 70]
