"""Laws of one job when one is meant: what a further submit of the same intention gets."""
# ruff: noqa: D103 - a law's name says what it states

from dataclasses import replace

from outlast.core import transition as tr
from outlast.core.fold import fold, of_row
from outlast.core.status import Status
from outlast.core.unique import REPLACEABLE, Sole
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import (
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

ONE = Sole("one")
REJECT = replace(ONE, on="reject")
LATEST = replace(ONE, on="replace", states=REPLACEABLE)


async def test_a_further_job_of_an_intention_is_the_one_that_is_there(ledger: Ledger) -> None:
    await submit(ledger, job(1, sole=ONE))

    again, other = await submit(ledger, job(2, sole=ONE), job(3, sole=Sole("other")), now=NOW + 5)

    assert (again.id, again.outcome, again.at_us) == (job_id(1), "existing", NOW)
    assert other.outcome == "created"
    assert ids(await rows(ledger)) == job_ids(1, 3)


async def test_within_a_batch_there_is_one_job_of_an_intention_too(ledger: Ledger) -> None:
    outcomes = await submit(ledger, *(job(n, sole=ONE) for n in range(3)))

    assert [made.outcome for made in outcomes] == ["created", "existing", "existing"]


async def test_a_rejected_job_is_not_stored_and_an_atomic_batch_with_it_neither(
    ledger: Ledger,
) -> None:
    await submit(ledger, job(1, sole=REJECT))

    (alone,) = await submit(ledger, job(2, sole=REJECT))
    batch = await ledger.insert([job(3), job(4, sole=REJECT)], atomic=True, now=NOW)

    assert (alone.id, alone.outcome) == (job_id(1), "rejected")
    assert [made.outcome for made in batch] == ["aborted", "rejected"]
    assert ids(await rows(ledger)) == job_ids(1)


async def test_an_intention_is_free_again_when_its_job_has_left_the_states(ledger: Ledger) -> None:
    (lease,) = await held(ledger, job(1, sole=ONE))
    (while_it_runs,) = await submit(ledger, job(2, sole=ONE))
    await apply(ledger, tr.completed(lease, "1"))

    (after_it,) = await submit(ledger, job(3, sole=ONE))

    assert (while_it_runs.outcome, after_it.outcome) == ("existing", "created")


async def test_of_states_that_are_chosen_only_those_count(ledger: Ledger) -> None:
    waiting = replace(ONE, states=(Status.PENDING,))
    done = replace(ONE, states=(Status.COMPLETED,))
    (lease,) = await held(ledger, job(1, sole=waiting))

    (beside_it,) = await submit(ledger, job(2, sole=waiting))
    await apply(ledger, tr.completed(lease, "1"))
    (after_it,) = await submit(ledger, job(3, sole=done))

    assert beside_it.outcome == "created"
    assert (after_it.id, after_it.outcome) == (job_id(1), "existing")


async def test_an_intention_is_free_again_after_its_period(ledger: Ledger) -> None:
    once = replace(ONE, within_us=TTL)
    await submit(ledger, job(1, sole=once))

    (late,) = await submit(ledger, job(2, sole=once), now=NOW + TTL - 1)
    (later,) = await submit(ledger, job(3, sole=once), now=NOW + TTL)

    assert (late.outcome, later.outcome) == ("existing", "created")


async def test_a_waiting_job_takes_the_latest_arguments_and_keeps_its_place(ledger: Ledger) -> None:
    await submit(ledger, job(1, sole=LATEST, args='{"n": 1}'), job(2))

    (again,) = await submit(ledger, job(3, sole=LATEST, args='{"n": 2}', priority=0))
    await hire(ledger)
    first, _ = await claim(ledger)

    assert (again.id, again.outcome) == (job_id(1), "replaced")
    assert (first.id, first.args) == (job_id(1), '{"n": 2}')
    assert fold(await history(ledger, 1)) == of_row(await row(ledger, 1))


async def test_a_job_that_has_started_is_not_replaced(ledger: Ledger) -> None:
    await held(ledger, job(1, sole=LATEST, args='{"n": 1}'))

    (again,) = await submit(ledger, job(2, sole=LATEST, args='{"n": 2}'))

    assert (again.id, again.outcome) == (job_id(2), "created")
    assert (await row(ledger, 1)).args == '{"n": 1}'


async def test_each_submit_puts_the_job_off_until_it_was_put_off_for_long_enough(
    ledger: Ledger,
) -> None:
    calm = replace(LATEST, hold_us=250)
    due = []
    for n in range(5):
        await submit(ledger, job(n, sole=calm, delay_us=100), now=NOW + 60 * n)
        due.append((await row(ledger, 0)).run_at - NOW)

    assert due == [100, 160, 220, 250, 250]
    assert ids(await rows(ledger)) == job_ids(0)
    assert fold(await history(ledger, 0)) == of_row(await row(ledger, 0))


async def test_a_key_stands_for_the_job_that_its_submit_got(ledger: Ledger) -> None:
    await submit(ledger, job(1, sole=ONE))
    (first,) = await submit(ledger, job(2, sole=ONE, key="k", fingerprint="f"))

    (again,) = await submit(ledger, job(3, sole=ONE, key="k", fingerprint="f"))

    assert (first.id, first.outcome) == (job_id(1), "existing")
    assert (again.id, again.outcome) == (job_id(1), "duplicate")


async def test_a_repeated_id_is_no_second_job_of_its_intention(ledger: Ledger) -> None:
    await submit(ledger, job(1, sole=REJECT))

    (again,) = await submit(ledger, job(1, sole=REJECT))

    assert (again.id, again.outcome) == (job_id(1), "duplicate")


async def test_the_newest_job_of_an_intention_counts(ledger: Ledger) -> None:
    ended = Sole("one", (Status.CANCELLED,), within_us=TTL)
    for n, at in ((1, NOW), (2, NOW + TTL)):
        await submit(ledger, job(n, sole=ended), now=at)
        await apply(
            ledger, *filter(None, [tr.cancel(job_id(n), Status.PENDING, reason="r")]), now=at
        )

    (further,) = await submit(ledger, job(3, sole=ended), now=NOW + TTL + 1)

    assert (further.id, further.outcome) == (job_id(2), "existing")
