"""What holds when a job is submitted in the user's own transaction, whatever the library."""

from dataclasses import replace

import pytest

from outlast.core.errors import InvalidInputError, OutlastError, QueueFullError, TooLargeError
from outlast.core.job import Filter
from outlast.core.limits import ROW_ARGS_MAX

LAWS = []


def law(function):
    LAWS.append(function)
    return function


async def number_of_jobs(desk):
    return (await desk.outside(desk.app.ledger.count(Filter(), "")))[()]


@law
async def a_job_is_there_exactly_when_the_transaction_commits(desk):
    await desk.theirs.begin()
    await desk.order(1)
    lost = await desk.submit("add", a=1, b=2)
    await desk.theirs.rollback()

    await desk.theirs.begin()
    await desk.order(2)
    kept = await desk.submit("add", a=1, b=2)
    unseen = await desk.record(kept)
    await desk.theirs.commit()

    assert await desk.record(lost) is None
    assert unseen is None
    assert (await desk.record(kept)).status == "pending"
    assert await desk.theirs.orders() == [2]


@law
async def the_first_statement_of_a_transaction_may_be_the_submit(desk):
    await desk.theirs.begin()
    lost = await desk.submit("add", a=1, b=2)
    await desk.theirs.rollback()

    assert await desk.record(lost) is None


@law
async def what_is_done_since_a_savepoint_goes_with_it(desk):
    await desk.theirs.begin()
    kept = await desk.submit("add", a=1, b=1)
    await desk.theirs.part()
    lost = await desk.submit("add", a=2, b=2)
    await desk.theirs.undo_part()
    also = await desk.submit("add", a=3, b=3)
    await desk.theirs.commit()

    assert await desk.record(lost) is None
    assert await desk.record(kept)
    assert await desk.record(also)


@law
async def two_with_one_key_are_one_job_and_a_rollback_frees_the_key(desk):
    await desk.theirs.begin()
    lost = await desk.submit("add", key="k", a=1, b=2)
    await desk.theirs.rollback()

    await desk.theirs.begin()
    first = await desk.submit("add", key="k", a=1, b=2)
    again = await desk.submit("add", key="k", a=1, b=2)
    await desk.theirs.commit()
    await desk.theirs.begin()
    later = await desk.submit("add", key="k", a=1, b=2)
    await desk.theirs.commit()

    assert lost.id != first.id == again.id == later.id
    assert (first.duplicate, again.duplicate, later.duplicate) == (False, True, True)
    assert await number_of_jobs(desk) == 1


@law
async def the_row_and_its_history_are_those_of_any_submit(desk):
    await desk.theirs.begin()
    inside = await desk.submit("add", a=1, b=2)
    await desk.theirs.commit()
    outside = await desk.submit_outside("add", a=1, b=2)

    told = [
        [(event.seq, event.type, event.data) for event in await desk.history(handle)]
        for handle in (inside, outside)
    ]
    rows = [await desk.record(handle) for handle in (inside, outside)]

    assert told[0] == told[1]
    assert replace(rows[0], **of_its_own(rows[1])) == rows[1]


def of_its_own(row):
    return {name: getattr(row, name) for name in ("id", "number", "submitted_at", "run_at")}


@law
async def a_bounded_queue_stays_bounded_and_the_transaction_goes_on(desk):
    await desk.submit_outside("bounded", a=0)
    await desk.theirs.begin()
    await desk.order(1)
    kept = await desk.submit("bounded", a=1)
    with pytest.raises(QueueFullError):
        await desk.submit("bounded", a=2)
    await desk.order(2)
    await desk.theirs.commit()

    assert await desk.record(kept)
    assert await desk.theirs.orders() == [1, 2]


@law
async def the_same_intention_is_one_job_inside_as_outside(desk):
    before = await desk.submit_outside("alone", a=1)
    await desk.theirs.begin()
    same = await desk.submit("alone", a=1)
    other = await desk.submit("alone", a=2)
    again = await desk.submit("alone", a=2)
    await desk.theirs.commit()

    assert same.id == before.id
    assert other.id == again.id != before.id
    assert (same.duplicate, other.duplicate, again.duplicate) == (True, False, True)


@law
async def a_batch_is_stored_each_for_itself_or_all_or_none(desk):
    calls = [{"a": n} for n in range(3)]
    await desk.theirs.begin()
    await desk.order(1)
    with pytest.raises(QueueFullError):
        await desk.submit_batch("bounded", calls, atomic=True)
    *made, refused = await desk.submit_batch("bounded", calls)
    many = await desk.submit_batch("add", [{"a": n, "b": n} for n in range(1_050)])
    await desk.theirs.commit()

    assert isinstance(refused, QueueFullError)
    assert not any(isinstance(one, OutlastError) for one in made + many)
    assert await number_of_jobs(desk) == 1_052
    assert [(await desk.record(one)).args for one in made] == ['{"a":0}', '{"a":1}']


@law
async def what_is_wrong_in_a_batch_is_told_before_any_of_it_is_stored(desk):
    calls = [{"a": n, "b": n} for n in range(1_050)]
    await desk.theirs.begin()
    await desk.order(1)
    with pytest.raises(InvalidInputError):
        await desk.submit_batch("add", [*calls, {"a": "one", "b": 1}])
    await desk.theirs.commit()

    assert await number_of_jobs(desk) == 0


@law
async def arguments_stay_in_the_row_so_that_a_rollback_leaves_no_file(desk):
    await desk.theirs.begin()
    kept = await desk.submit("said", text="x" * (ROW_ARGS_MAX - 100))
    with pytest.raises(TooLargeError, match="submitted in a transaction"):
        await desk.submit("said", text="x" * ROW_ARGS_MAX)
    await desk.theirs.commit()

    assert len((await desk.record(kept)).args) > ROW_ARGS_MAX - 100


@law
async def without_a_transaction_a_submit_is_one_of_its_own(desk):
    await desk.theirs.commit_each()
    handle = await desk.submit("add", key="k", a=1, b=2)

    assert await desk.record(handle)
    assert (await desk.submit_batch("add", [{"a": 1, "b": 2}], atomic=True))[0].id != handle.id
