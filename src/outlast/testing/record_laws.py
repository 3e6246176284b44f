"""Laws of reading, of small records and of forgetting."""
# ruff: noqa: D103 - a law's name says what it states

import asyncio
import json

from outlast.core import transition as tr
from outlast.core.job import Filter, Page, Pruned
from outlast.core.limits import HOUR, TOMBSTONE_TTL_US
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
    rows,
    submit,
)


async def test_a_ledger_tells_the_clock_by_which_it_judges(ledger: Ledger) -> None:
    before = await ledger.now()
    (made,) = await ledger.insert([job(1)])

    assert before <= made.at_us <= await ledger.now()


async def test_jobs_come_in_the_order_asked_and_the_missing_as_none(ledger: Ledger) -> None:
    await submit(ledger, job(1), job(2))

    found = await ledger.get(job_ids(2, 9, 1))

    assert [one.id if one else None for one in found] == [job_id(2), None, job_id(1)]
    assert await ledger.get([]) == []


async def test_pages_show_every_job_once_in_either_direction(ledger: Ledger) -> None:
    await submit(ledger, *(job(n, queue="ab"[n % 2]) for n in range(25)))
    for oldest_first in (True, False):
        seen: list[str] = []
        after: int | None = None
        while page := await ledger.find(
            Filter(queue="a"), Page(limit=4, after=after, oldest_first=oldest_first)
        ):
            seen += ids(page)
            after = page[-1].number
            await submit(ledger, job(1000 + len(seen) + 500 * oldest_first, queue="b"))
        expected = job_ids(*range(0, 25, 2))
        assert seen == (expected if oldest_first else expected[::-1])


async def test_each_field_of_a_filter_must_hold(ledger: Ledger) -> None:
    await submit(ledger, job(1, tenant="x", task="resize", tags='["red", "big"]'))
    await submit(ledger, job(2, queue="q", args='{"name": "Straße"}', expires_in_us=9), now=NOW + 1)
    await submit(ledger, job(3, delay_us=5, tags='["bigger"]'), now=NOW + 2)
    await hire(ledger)
    await submit(ledger, job(4, queue="busy"), now=NOW + 3)
    (lease,) = await claim(ledger, queues=("busy",), now=NOW + 3)
    await apply(ledger, tr.cancel(lease.id, Status.PROCESSING, reason="r"))
    cases = {
        Filter(): (1, 2, 3, 4),
        Filter(ids=(job_id(3), job_id(1), job_id(99))): (1, 3),
        Filter(ids=()): (),
        Filter(tenant="x"): (1,),
        Filter(task="resize"): (1,),
        Filter(status=Status.SCHEDULED): (3,),
        Filter(queue="q"): (2,),
        Filter(tag="big"): (1,),
        Filter(tag="r"): (),
        Filter(holder="w1"): (4,),
        Filter(holder="w2"): (),
        Filter(cancel_requested=True): (4,),
        Filter(submitted_after=NOW + 1, submitted_before=NOW + 3): (2, 3),
        Filter(due_before=NOW + 6): (),
        Filter(due_before=NOW + 7): (3,),
        Filter(expired_before=NOW + 9): (),
        Filter(expired_before=NOW + 10): (2,),
        Filter(queue="q", tenant="x"): (),
    }
    for where, expected in cases.items():
        assert ids(await rows(ledger, where)) == job_ids(*expected), where
        assert await ledger.count(where, "") == {(): len(expected)}, where


async def test_text_is_found_in_id_task_arguments_and_error(ledger: Ledger) -> None:
    _, lease = await held(
        ledger, job(1, task="Resize_All"), job(2, args='{"who": "Ada 100% Öl"}', task="u")
    )
    error = {**ERROR, "message": "Kaboom", "retryable": False}
    await apply(ledger, tr.failed(lease, error, backoff=AT_ONCE, dice=0.0))
    cases = {
        "resize_a": (1,),
        "resizeXa": (),
        "ADA 100%": (2,),
        "100%Öl": (),
        "Öl": (2,),
        "öl": (),
        "kaBOOM": (2,),
        job_id(1)[-4:]: (1,),
        "": (1, 2),
    }
    for text, expected in cases.items():
        assert ids(await rows(ledger, Filter(text=text))) == job_ids(*expected), text


async def test_a_job_that_has_completed_has_no_error(ledger: Ledger) -> None:
    (first,) = await held(ledger, job(1))
    await apply(ledger, tr.failed(first, ERROR, backoff=AT_ONCE, dice=0.0))
    (between,) = await rows(ledger, Filter())
    (second,) = await claim(ledger)

    await apply(ledger, tr.completed(second, "1"))

    (after,) = await rows(ledger, Filter())
    assert (between.error is None, after.error) == (False, None)


async def test_what_is_ahead_of_a_job_is_what_would_be_claimed_before_it(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, priority=n % 3, delay_us=n // 11) for n in range(12)))
    await submit(ledger, job(99, queue="other", priority=9))

    ahead = {job_id(n): ids(await rows(ledger, Filter(ahead_of=job_id(n)))) for n in range(11)}

    order = ids(await claim(ledger))
    assert len(order) == len(ahead)
    for place, one in enumerate(order):
        assert set(ahead[one]) == set(order[:place])
    assert await rows(ledger, Filter(ahead_of=job_id(1000))) == []


async def test_counts_add_up(ledger: Ledger) -> None:
    assert await ledger.count(Filter(), "") == {(): 0}
    assert await ledger.count(Filter(), "queue") == {}
    await held(ledger, job(1, max_attempts=1), job(2))
    await submit(ledger, job(3), job(4, queue="q"), job(5, queue="q", delay_us=5))
    lease, _ = await ledger.expired(10, now=NOW + TTL)
    await apply(ledger, tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0))

    assert await ledger.count(Filter(), "queue") == {
        ("default", "failed"): 1,
        ("default", "pending"): 1,
        ("default", "processing"): 1,
        ("q", "pending"): 1,
        ("q", "scheduled"): 1,
    }
    assert await ledger.count(Filter(status=Status.FAILED), "error") == {("f1",): 1}
    assert ids(await rows(ledger, Filter(fingerprint="f1"))) == job_ids(1)
    assert await rows(ledger, Filter(fingerprint="f2")) == []


async def test_history_goes_on_after_what_was_read(ledger: Ledger) -> None:
    await held(ledger, job(1), job(2))

    everything = await ledger.history(None)
    assert [(e.job_id, e.type) for e in everything] == [
        (job_id(1), "submitted"),
        (job_id(2), "submitted"),
        (job_id(1), "started"),
        (job_id(2), "started"),
    ]
    assert [e.position for e in everything] == [1, 2, 3, 4]
    assert await ledger.history(None, after=2) == everything[2:]
    assert await ledger.history(None, limit=3) == everything[:3]
    assert await ledger.history(None, type="started") == everything[2:]
    assert await ledger.history(None, after=4) == []
    assert await ledger.history(job_id(2)) == everything[1::2]
    assert await ledger.history(job_id(2), after=1) == everything[3:]
    assert await ledger.history(job_id(2), type="submitted") == everything[1:2]
    assert await ledger.history(job_id(9)) == []


async def test_a_record_changes_only_at_the_expected_version(ledger: Ledger) -> None:
    assert await ledger.put("k", "a", "1", version=0, now=NOW)
    assert not await ledger.put("k", "a", "2", version=0, now=NOW)
    assert await ledger.put("k", "a", "2", version=1, now=NOW)
    assert not await ledger.put("k", "a", None, version=1, now=NOW)
    assert await ledger.put("k", "a", "3", now=NOW)
    assert not await ledger.put("k", "b", "x", version=3, now=NOW)

    (doc,) = await ledger.docs("k")

    assert (doc.kind, doc.key, doc.version, doc.doc, doc.lease_until) == ("k", "a", 3, "3", None)
    assert await ledger.put("k", "a", None, version=3, now=NOW)
    assert await ledger.docs("k") == []
    assert await ledger.put("k", "a", "1", version=0, now=NOW)


async def test_of_many_writers_of_one_version_one_wins(ledger: Ledger) -> None:
    wins = await asyncio.gather(
        *(ledger.put("k", "a", str(n), version=0, now=NOW) for n in range(20))
    )

    assert sum(wins) == 1
    (doc,) = await ledger.docs("k")
    assert wins[int(doc.doc)]


async def test_records_are_kept_apart_by_kind_and_ordered_by_key(ledger: Ledger) -> None:
    for key in ("b", "é", "a", "Z"):
        await ledger.put("k", key, key, now=NOW)
    await ledger.put("other", "a", "x", now=NOW)

    assert [doc.key for doc in await ledger.docs("k")] == ["Z", "a", "b", "é"]
    assert [doc.doc for doc in await ledger.docs("k", "a")] == ["a"]
    assert await ledger.docs("k", "none") == []


async def test_writing_a_record_without_a_ttl_keeps_its_lease(ledger: Ledger) -> None:
    await ledger.put("worker", "w", "1", ttl_us=5, now=NOW)
    await ledger.put("worker", "w", "2", now=NOW + 3)

    (doc,) = await ledger.docs("worker")

    assert (doc.doc, doc.lease_until) == ("2", NOW + 5)


async def test_pruning_forgets_what_ended_before_the_instant(ledger: Ledger) -> None:
    leases = await held(ledger, *(job(n) for n in range(5)))
    for after, n in enumerate((2, 0, 1)):
        await apply(ledger, tr.completed(leases[n], "1"), now=NOW + after)
    kept = await row(ledger, 1)

    pruned = await ledger.prune(NOW + 2, 10, now=NOW + 9)

    assert pruned == Pruned(2, 0, (job_id(2), job_id(0)))
    assert await ledger.get(job_ids(0, 1, 2)) == [None, kept, None]
    assert await history(ledger, 2) == []
    assert {event.job_id for event in await ledger.history(None)} == set(job_ids(1, 3, 4))
    assert [doc.key for doc in await ledger.docs("tombstone")] == job_ids(0, 2)


async def test_pruning_takes_the_oldest_first_and_no_more_than_asked(ledger: Ledger) -> None:
    leases = await held(ledger, *(job(n) for n in range(4)))
    await apply(ledger, *(tr.completed(lease, "1") for lease in reversed(leases)))

    assert (await ledger.prune(NOW + 1, 3, now=NOW)).ids == tuple(job_ids(0, 1, 2))
    assert (await ledger.prune(NOW + 1, 3, now=NOW)).ids == tuple(job_ids(3))


async def test_what_lives_is_never_pruned(ledger: Ledger) -> None:
    await held(ledger, job(1))
    await submit(ledger, job(2), job(3, delay_us=5))

    assert await ledger.prune(NOW + HOUR, 10, now=NOW) == Pruned()
    assert await ledger.prune(NOW + HOUR, 10, ids=job_ids(1, 2, 3, 4), now=NOW) == Pruned()
    assert ids(await rows(ledger)) == job_ids(1, 2, 3)


async def test_pruning_by_id_forgets_these_alone(ledger: Ledger) -> None:
    leases = await held(ledger, job(1), job(2), job(3))
    await apply(ledger, *(tr.completed(lease, "1") for lease in leases[:2]))

    pruned = await ledger.prune(NOW + 1, 10, ids=job_ids(3, 2), now=NOW)

    assert pruned.ids == (job_id(2),)
    assert ids(await rows(ledger)) == job_ids(1, 3)


async def test_what_ended_anew_meanwhile_is_not_pruned(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.cancelled(lease, "x"))
    await apply(ledger, tr.redriven(job_id(1), Status.CANCELLED), now=NOW + 5)
    (again,) = await claim(ledger, now=NOW + 5)
    await apply(ledger, tr.completed(again, "1"), now=NOW + 5)

    assert await ledger.prune(NOW + 5, 10, ids=job_ids(1), now=NOW + 5) == Pruned()
    assert (await ledger.prune(NOW + 6, 10, ids=job_ids(1), now=NOW + 6)).jobs == 1


async def test_ended_jobs_are_listed_in_the_order_of_their_ends(ledger: Ledger) -> None:
    leases = await held(ledger, *(job(n) for n in range(5)))
    for after, n in enumerate((3, 0, 2)):
        await apply(ledger, tr.completed(leases[n], "1"), now=NOW + after)
    await apply(ledger, tr.cancelled(leases[1], "x"), now=NOW)

    listed = await ledger.find(Filter(), Page(limit=10, ended_after=(0, 0)))
    assert ids(listed) == job_ids(1, 3, 0, 2)
    assert ids(await ledger.find(Filter(), Page(limit=1, ended_after=(0, 0)))) == job_ids(1)
    place = (NOW, listed[0].number)
    assert ids(await ledger.find(Filter(), Page(limit=10, ended_after=place))) == job_ids(3, 0, 2)
    done = Filter(status=Status.COMPLETED)
    assert ids(await ledger.find(done, Page(limit=2, ended_after=(0, 0)))) == job_ids(3, 0)


async def test_tombstones_and_uploads_go_when_their_time_is_over(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1, tenant="t"))
    await apply(ledger, tr.completed(lease, "1"))
    await ledger.prune(NOW + 1, 10, now=NOW)
    await ledger.put("upload", "u", "{}", ttl_us=HOUR, now=NOW)
    await ledger.put("queue", "q", "{}", ttl_us=1, now=NOW)
    (tombstone,) = await ledger.docs("tombstone")

    assert json.loads(tombstone.doc) == {"tenant": "t"}
    assert tombstone.lease_until == NOW + TOMBSTONE_TTL_US
    assert (await ledger.prune(0, 10, now=NOW + HOUR - 1)).docs == 0
    assert (await ledger.prune(0, 10, now=NOW + HOUR)).docs == 1
    assert (await ledger.prune(0, 10, now=NOW + TOMBSTONE_TTL_US)).docs == 1
    assert [len(await ledger.docs(kind)) for kind in ("tombstone", "upload", "queue")] == [0, 0, 1]


async def test_a_pruned_number_never_comes_back(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.completed(lease, "1"))
    last = (await ledger.history(None))[-1].position
    await ledger.prune(NOW + 1, 1, ids=job_ids(1), now=NOW)

    await submit(ledger, job(2))

    assert (await row(ledger, 2)).number == 2  # noqa: PLR2004 - the second job ever
    assert (await history(ledger, 2))[0].position == last + 1


async def test_keys_past_their_time_are_pruned_oldest_first(ledger: Ledger) -> None:
    await submit(ledger, *(job(n, key=f"k{n}", key_ttl_us=10 + n) for n in range(4)))

    assert (await ledger.prune(0, 2, now=NOW + 12)).keys == 2  # noqa: PLR2004 - its limit
    assert (await ledger.prune(0, 2, now=NOW + 12)).keys == 1
    assert (await ledger.prune(0, 2, now=NOW + 12)).keys == 0


async def test_every_accepted_job_is_somewhere(ledger: Ledger) -> None:
    """Accepted = ended + live, at every step."""
    await held(ledger, *(job(n, queue="default", max_attempts=1) for n in range(5)))
    await submit(ledger, *(job(n, delay_us=n % 2) for n in range(5, 15)))
    leases = await ledger.expired(10, now=NOW + TTL)
    changes = [
        tr.completed(leases[0], "1"),
        tr.failed(leases[1], ERROR, backoff=AT_ONCE, dice=0.0),
        tr.cancelled(leases[2], "r"),
        tr.released(leases[3]),
    ]
    for change in changes:
        await apply(ledger, change)
        assert sum((await ledger.count(Filter(), "queue")).values()) == 15  # noqa: PLR2004 - all


async def test_without_an_instant_the_store_takes_its_own_clock(ledger: Ledger) -> None:
    """A worker that lives now can work now; one whose lease ended long ago can't."""
    await ledger.insert([job(1)])
    made = await row(ledger, 1)
    await ledger.put("worker", "w1", "{}", ttl_us=HOUR)
    (lease,) = await claim(ledger)

    assert await ledger.expired(10) == []
    (verdict,) = await ledger.commit([tr.amended(lease, "log", json.dumps({}))])

    times = [event.at for event in await ledger.history(job_id(1))]
    assert verdict.accepted
    assert made.submitted_at == times[0] <= times[2] < made.submitted_at + HOUR


async def test_the_bell_rings_for_every_waiter_after_a_write(ledger: Ledger) -> None:
    bell = ledger.bell

    async def listen(ready: asyncio.Semaphore) -> None:
        await bell.wait(0.001)  # whatever rang before
        ready.release()
        await bell.wait(60)

    ready = asyncio.Semaphore(0)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(listen(ready))
        for _ in range(2):
            await ready.acquire()
        await submit(ledger, job(1))
