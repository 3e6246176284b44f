"""Laws of transitions: how attempts end, who wins a race, and that history tells it all."""
# ruff: noqa: D103 - a law's name says what it states

import json
from random import Random

from outlast.core import transition as tr
from outlast.core.fold import fold, of_row
from outlast.core.job import Filter, Lease, Transition
from outlast.core.retry import Backoff
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import (
    AT_ONCE,
    ERROR,
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


async def test_a_completed_job_keeps_its_result(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))

    (verdict,) = await apply(ledger, tr.completed(lease, '{"π": 3}'), now=NOW + 5)

    done = await row(ledger, 1)
    assert (verdict.accepted, verdict.seq) == (True, 3)
    assert (done.status, done.result, done.seq) == (Status.COMPLETED, '{"π": 3}', 3)
    assert (done.finished_at, done.holder) == (NOW + 5, None)


async def test_a_failed_attempt_waits_for_its_backoff(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))

    await apply(ledger, tr.failed(lease, ERROR, backoff=Backoff(), dice=0.0, after_us=70))

    waiting = await row(ledger, 1)
    assert (waiting.status, waiting.run_at) == (Status.SCHEDULED, NOW + 70)
    assert (waiting.attempt, waiting.holder) == (1, None)
    assert json.loads(waiting.error or "") == ERROR
    assert await claim(ledger, now=NOW + 999) == []


async def test_attempts_end_and_a_redrive_counts_anew(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1, max_attempts=2))
    for _ in range(2):
        (lease,) = await claim(ledger)
        await apply(ledger, tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0))
    dead = await row(ledger, 1)
    assert (dead.status, dead.attempt) == (Status.FAILED, 2)

    await apply(ledger, tr.redriven(dead.id, Status.FAILED))

    (again,) = await claim(ledger)
    assert (again.attempt, again.token, again.run, again.lost) == (1, 3, 2, 0)


async def test_a_redrive_clears_what_the_last_run_left(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(
        ledger,
        tr.amended(lease, "progress", "{}", progress='{"fraction": 1}'),
        tr.cancel(lease.id, Status.PROCESSING, reason="r"),
        tr.cancelled(lease, "r"),
        tr.redriven(lease.id, Status.CANCELLED),
        now=NOW + 5,
    )

    fresh = await row(ledger, 1)

    assert (fresh.status, fresh.run, fresh.attempt, fresh.run_at) == (Status.PENDING, 2, 0, NOW + 5)
    assert (fresh.started_at, fresh.finished_at, fresh.holder) == (None, None, None)
    assert (fresh.cancel_requested_at, fresh.progress, fresh.result) == (None, None, None)


async def test_a_released_job_costs_no_attempt_and_keeps_its_place(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await submit(ledger, job(2))

    await apply(ledger, tr.released(lease))

    back = await row(ledger, 1)
    assert (back.status, back.attempt, back.holder) == (Status.PENDING, 0, None)
    again, _ = await claim(ledger)
    assert (again.id, again.token, again.attempt) == (job_id(1), 2, 1)


async def test_a_lost_job_runs_at_once_then_backs_off_then_is_dead(ledger: Ledger) -> None:
    await submit(ledger, job(1, max_attempts=10))
    seen = []
    for n in range(3):
        await hire(ledger, f"victim{n}")
        await _let_it_be_due(ledger, 1)
        (lease,) = await claim(ledger, f"victim{n}")
        await apply(ledger, tr.lost(lease, reason="killed", at="", dice=0.5))
        seen.append((await row(ledger, 1)).status)

    assert seen == [Status.PENDING, Status.SCHEDULED, Status.FAILED]
    assert (await row(ledger, 1)).lost == 3  # noqa: PLR2004 - the third loss


async def _let_it_be_due(ledger: Ledger, n: int) -> None:
    waiting = await row(ledger, n)
    if waiting.status is Status.SCHEDULED:
        await apply(ledger, tr.due(waiting), now=waiting.run_at)


async def test_a_job_that_gets_on_is_forgiven_its_crashes(ledger: Ledger) -> None:
    await submit(ledger, job(1, max_attempts=3))
    for n in range(6):
        await hire(ledger, f"victim{n}")
        await _let_it_be_due(ledger, 1)
        (lease,) = await claim(ledger, f"victim{n}")
        if n % 2:
            assert lease.lost == 1 + (n > 1)
            await apply(ledger, tr.recovered(lease))
            (lease,) = await ledger.expired(1, now=NOW * 2)
        await apply(ledger, tr.lost(lease, reason="killed", at="", dice=0.5))

    alive = await row(ledger, 1)
    assert (alive.status, alive.attempt, alive.lost) == (Status.PENDING, 1, 1)
    assert fold(await history(ledger, 1)) == of_row(alive)


async def test_a_job_that_crashes_thrice_is_dead_however_many_attempts_it_has(
    ledger: Ledger,
) -> None:
    await hire(ledger)
    await submit(ledger, job(1, max_attempts=10))
    seen = []
    for counts in (True, False, True):  # a crash costs an attempt, whatever was asked
        (lease,) = await claim(ledger)
        change = tr.failed(
            lease, ERROR, backoff=AT_ONCE, dice=0.0, counts=counts, after_us=0, crashed=True
        )
        await apply(ledger, change)
        seen.append((await row(ledger, 1)).status)

    dead = await row(ledger, 1)
    assert seen == [Status.PENDING, Status.PENDING, Status.FAILED]
    assert (dead.lost, dead.attempt) == (3, 3)
    assert json.loads(dead.error or "")["reason"] == "crashed"
    assert fold(await history(ledger, 1)) == of_row(dead)


async def test_cancel_and_complete_have_one_winner(ledger: Ledger) -> None:
    first, second = await held(ledger, job(1), job(2))

    verdicts = await apply(
        ledger,
        tr.cancelled(first, "r"),
        tr.completed(first, "1"),
        tr.completed(second, "2"),
        tr.cancel(second.id, Status.PROCESSING, reason="r"),
        tr.cancelled(second, "r"),
    )

    assert [v.accepted for v in verdicts] == [True, False, True, False, False]
    assert [r.status for r in await rows(ledger)] == [Status.CANCELLED, Status.COMPLETED]


async def test_no_attempt_starts_after_a_cancel(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.cancel(lease.id, Status.PROCESSING, reason="r"))

    verdicts = await apply(
        ledger,
        tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0),
        tr.released(lease),
        tr.lost(lease, reason="r", at="", dice=0.0),
    )

    assert [(v.accepted, v.cancel_requested) for v in verdicts] == [(False, True)] * 3
    await apply(ledger, tr.after_refusal(lease, verdicts[0]))
    assert (await row(ledger, 1)).status is Status.CANCELLED
    assert await claim(ledger) == []


async def test_a_cancel_is_noted_once_and_the_reaper_sees_it(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    ask = tr.cancel(lease.id, Status.PROCESSING, reason="r")

    first, second = await apply(ledger, ask, ask, now=NOW + 5)

    assert (first.accepted, second.accepted) == (True, False)
    asked = await row(ledger, 1)
    assert (asked.status, asked.cancel_requested_at) == (Status.PROCESSING, NOW + 5)
    (seen,) = await ledger.expired(10, now=NOW * 2)
    assert seen.cancel_requested


async def test_a_terminal_job_never_moves_by_itself(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.completed(lease, "1"))
    before = await row(ledger, 1)

    verdicts = await apply(
        ledger,
        tr.completed(lease, "2"),
        tr.released(lease),
        tr.amended(lease, "progress", "{}", progress="{}"),
        tr.cancel(lease.id, Status.PENDING, reason="r"),
        tr.redriven(lease.id, Status.FAILED),
        tr.due(before),
    )

    assert not any(verdict.accepted for verdict in verdicts)
    assert {verdict.status for verdict in verdicts} == {Status.COMPLETED}
    assert await row(ledger, 1) == before


async def test_an_unknown_job_is_refused(ledger: Ledger) -> None:
    (verdict,) = await apply(ledger, tr.discarded(job_id(1), "never was"))

    assert (verdict.accepted, verdict.status) == (False, None)
    assert await ledger.history(None) == []


async def test_transitions_of_one_call_are_judged_in_order_and_each_alone(ledger: Ledger) -> None:
    first, second = await held(ledger, job(1), job(2))

    verdicts = await apply(
        ledger,
        tr.amended(first, "log", '{"n": 1}'),
        tr.completed(second, None),
        tr.released(second),
        tr.amended(first, "log", '{"n": 2}'),
    )

    assert [(v.accepted, v.seq) for v in verdicts] == [(True, 3), (True, 3), (False, 0), (True, 4)]
    logs = await ledger.history(first.id, type="log")
    assert [json.loads(event.data)["n"] for event in logs] == [1, 2]


async def test_an_artifact_replaces_the_one_of_its_name(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1))
    saved = ['{"name": "a", "v": 1}', '{"name": "é\\"", "v": 1}', '{"name": "a", "v": 2}']

    await apply(ledger, *(tr.amended(lease, "artifact", "{}", artifact=a) for a in saved))

    artifacts = json.loads((await row(ledger, 1)).artifacts)
    assert artifacts == [{"name": 'é"', "v": 1}, {"name": "a", "v": 2}]


async def test_a_waiting_job_can_be_moved_and_changed(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1))

    await apply(
        ledger,
        Transition(
            job_id(1), Status.PENDING, None, None, "moved", priority=9, queue="q", max_attempts=2
        ),
    )

    (lease,) = await claim(ledger, queues=("q",))
    assert (lease.priority, lease.queue, lease.max_attempts) == (9, "q", 2)


async def test_every_field_of_a_transition_is_set_whatever_the_target(ledger: Ledger) -> None:
    for n, target in enumerate((Status.COMPLETED, Status.FAILED, None)):
        (lease,) = await held(ledger, job(n))
        change = Transition(
            lease.id,
            Status.PROCESSING,
            lease.token,
            target,
            "noted",
            result="1",
            error='{"message": "e"}',
            progress='{"fraction": 1}',
            artifact='{"name": "a"}',
            attempt=7,
            lost=5,
        )
        await apply(ledger, change)
        now = await row(ledger, n)
        assert (now.result, now.error, now.progress) == (
            change.result,
            change.error,
            change.progress,
        )
        assert (now.attempt, now.lost, json.loads(now.artifacts)) == (7, 5, [{"name": "a"}])
        await apply(ledger, tr.cancelled(lease, "room for the next"))


async def test_a_transition_meant_for_the_uncancelled_is_refused_whatever_the_target(
    ledger: Ledger,
) -> None:
    (lease,) = await held(ledger, job(1))
    await apply(ledger, tr.cancel(lease.id, Status.PROCESSING, reason="r"))

    for target in (Status.COMPLETED, Status.FAILED, None):
        change = Transition(
            lease.id, Status.PROCESSING, lease.token, target, "noted", unless_cancelled=True
        )
        (verdict,) = await apply(ledger, change)
        assert not verdict.accepted


async def test_what_waits_for_its_time_is_refused_before_it(ledger: Ledger) -> None:
    """The store's clock decides, not that of whoever asks."""
    await submit(ledger, job(1, delay_us=50), job(2, expires_in_us=50), job(3, deadline_us=50))
    late = [tr.due(await row(ledger, 1)), tr.expired(await row(ledger, 2))]
    late += [tr.overdue(await row(ledger, 3), at=""), tr.overdue(await row(ledger, 1), at="")]

    early = await apply(ledger, *late, now=NOW + 49)
    then = await apply(ledger, *late, now=NOW + 50)

    assert [verdict.accepted for verdict in early] == [False] * 4
    assert [verdict.accepted for verdict in then] == [True, True, True, False]


async def test_a_stale_promotion_never_cuts_a_later_backoff_short(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(1, delay_us=10))
    stale = tr.due(await row(ledger, 1))
    await apply(ledger, stale, now=NOW + 10)
    (lease,) = await claim(ledger, now=NOW + 10)
    again = tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0, after_us=70)
    await apply(ledger, again, now=NOW + 10)

    (verdict,) = await apply(ledger, stale, now=NOW + 20)

    assert not verdict.accepted
    assert (await row(ledger, 1)).run_at == NOW + 80


async def test_a_discarded_job_leaves_the_dead_letters_until_redriven(ledger: Ledger) -> None:
    first, second = await held(ledger, job(1, max_attempts=1), job(2, max_attempts=1))
    for lease in (first, second):
        await apply(ledger, tr.failed(lease, ERROR, backoff=AT_ONCE, dice=0.0))

    await apply(ledger, tr.discarded(first.id, "known"))

    assert ids(await rows(ledger, Filter(discarded=True))) == job_ids(1)
    assert ids(await rows(ledger, Filter(discarded=False))) == job_ids(2)
    assert (await row(ledger, 1)).status is Status.FAILED
    await apply(ledger, tr.redriven(first.id, Status.FAILED))
    assert await rows(ledger, Filter(discarded=True)) == []


async def test_folding_the_history_gives_the_row(ledger: Ledger) -> None:
    """Any life, lived by a seeded die, is told completely and without a gap."""
    await hire(ledger)
    await submit(ledger, *(job(n, max_attempts=3, delay_us=n % 2) for n in range(6)))
    die = Random(7)
    leases: dict[str, Lease] = {}
    for step in range(150):
        now = NOW + step
        leases |= {lease.id: lease for lease in await claim(ledger, limit=2, now=now)}
        found = await row(ledger, die.randrange(6))
        change = _something(found.id, found.status, leases.get(found.id), die)
        if found.status is Status.SCHEDULED:
            change = tr.due(found)
        if change is not None:
            await apply(ledger, change, now=now)
    for n in range(6):
        events, found = await history(ledger, n), await row(ledger, n)
        assert fold(events) == of_row(found)
        assert [event.seq for event in events] == list(range(1, found.seq + 1))
        assert [event.at for event in events] == sorted(event.at for event in events)


def _something(id_: str, status: Status, lease: Lease | None, die: Random) -> Transition | None:
    if lease is None or die.random() < 0.2:  # noqa: PLR2004 - one in five
        return tr.cancel(id_, status, reason="r") or tr.redriven(id_, status)
    return die.choice(
        [
            tr.completed(lease, "1") if die.random() < 0.2 else None,  # noqa: PLR2004 - as above
            tr.failed(lease, ERROR, backoff=AT_ONCE, dice=die.random()),
            tr.failed(lease, ERROR, backoff=Backoff(), dice=die.random()),
            tr.lost(lease, reason="r", at="", dice=die.random()),
            tr.recovered(lease),
            tr.released(lease),
            tr.cancelled(lease, "r"),
            tr.amended(lease, "progress", "{}", progress="{}"),
        ]
    )
