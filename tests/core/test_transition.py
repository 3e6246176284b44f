"""Whatever is thrown at them, transitions follow the arrows and stay within their bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core import transition
from outlast.core.job import JobRecord, Lease, Verdict
from outlast.core.limits import LOST_MAX, SECOND
from outlast.core.retry import LOST_BACKOFF, Backoff
from outlast.core.status import ARROWS, TERMINAL, UNSTARTED, Status

DICE = st.floats(0, 1, exclude_max=True)


@st.composite
def leases(draw):
    most = draw(st.integers(1, 1_000))
    return Lease(
        id="018bcfe5-6800-7000-8000-000000000000",
        task="t",
        queue="default",
        args="{}",
        token=draw(st.integers(1, 10_000)),
        attempt=draw(st.integers(1, most)),
        max_attempts=most,
        lost=draw(st.integers(0, LOST_MAX - 1)),
        run=draw(st.integers(1, 5)),
        priority=0,
        timeout_us=None,
        cancel_requested=draw(st.booleans()),
        key=None,
        tenant="",
        holder="w",
        submitted_at=0,
    )


BACKOFFS = st.builds(
    Backoff,
    base_us=st.integers(0, 3_600 * SECOND),
    factor=st.floats(1, 10),
    cap_us=st.integers(0, 86_400 * SECOND),
    jitter=st.booleans(),
)
ERRORS = st.fixed_dictionaries({"type": st.text(), "retryable": st.booleans()})


def follows_an_arrow(change):
    return change.target is None or change.target in ARROWS[change.source]


@given(leases(), ERRORS, BACKOFFS, DICE, st.none() | st.integers(0, 10**9))
def test_a_failed_attempt_follows_the_arrows_and_runs_again_only_within_its_attempts(
    lease, error, backoff, dice, after
):
    change = transition.failed(lease, error, backoff=backoff, dice=dice, after_us=after)

    assert follows_an_arrow(change)
    again = error["retryable"] and lease.attempt < lease.max_attempts
    assert (change.target in UNSTARTED) is bool(again)
    assert change.token == lease.token
    assert json.loads(change.data)["error"] == error
    assert (change.target is Status.SCHEDULED) is (change.delay_us > 0)
    if again and after is not None:
        assert change.delay_us == after


@given(leases(), DICE)
def test_a_lost_job_counts_its_loss_and_ends_at_its_bound(lease, dice):
    change = transition.lost(lease, reason="gone", at="now", dice=dice)

    assert follows_an_arrow(change)
    assert change.token == lease.token
    if lease.cancel_requested:
        assert change.target is Status.CANCELLED
    else:
        assert change.lost == lease.lost + 1
        spent = lease.attempt >= lease.max_attempts or lease.lost + 1 >= LOST_MAX
        assert (change.target is Status.FAILED) is spent
        assert change.delay_us <= LOST_BACKOFF.cap_us
        assert lease.lost or change.delay_us == 0  # the first loss runs again at once


@given(leases(), DICE)
def test_a_job_that_gets_on_has_the_budget_of_one_that_never_crashed(lease, dice):
    change = transition.recovered(lease)
    fresh = lease._replace(attempt=change.attempt, lost=change.lost)

    assert (change.source, change.target, change.token) == (Status.PROCESSING, None, lease.token)
    assert fresh.attempt == max(1, lease.attempt - lease.lost)
    after = transition.lost(fresh, reason="gone", at="now", dice=dice)
    if not lease.cancel_requested:
        assert after.lost == 1
        assert (after.target is Status.FAILED) is (fresh.attempt >= lease.max_attempts)
        assert after.delay_us == 0


@given(leases(), st.text(), st.none() | st.text())
def test_what_a_holder_writes_carries_its_token_and_follows_the_arrows(lease, text, result):
    changes = [
        transition.completed(lease, result),
        transition.amended(lease, "log", "{}"),
        transition.released(lease),
        transition.cancelled(lease, text),
    ]

    assert all(follows_an_arrow(change) for change in changes)
    assert {change.token for change in changes} == {lease.token}
    assert {change.source for change in changes} == {Status.PROCESSING}


@given(leases())
def test_ends_that_no_code_of_the_task_saw_make_groups_of_dead_letters(lease):
    lease = lease._replace(cancel_requested=False, lost=0)
    ends = [
        transition.lost(lease._replace(attempt=n, max_attempts=n), reason=f"w {n}", at="", dice=0)
        for n in (1, 2)
    ]

    one, other = (json.loads(end.error)["fingerprint"] for end in ends)
    missing = json.loads(transition.missing(lease, times=99, at="").error)["fingerprint"]
    assert one == other != missing


@given(leases())
def test_giving_a_job_back_costs_no_attempt(lease):
    assert transition.released(lease).attempt == lease.attempt - 1


@pytest.mark.parametrize("status", Status)
def test_requests_from_outside_follow_the_arrows(status):
    cancel = transition.cancel("j", status, reason="r")
    redrive = transition.redriven("j", status)

    assert (cancel is None) is (status in TERMINAL)
    assert (redrive is None) is (status not in {Status.FAILED, Status.CANCELLED})
    assert all(follows_an_arrow(change) for change in (cancel, redrive) if change)


@pytest.mark.parametrize("status", [Status.PENDING, Status.SCHEDULED])
def test_time_moves_only_unstarted_jobs(status):
    blank = dict.fromkeys(JobRecord.__dataclass_fields__, 0)
    record = JobRecord(**{**blank, "id": "j", "status": status})

    assert follows_an_arrow(transition.expired(record))
    assert follows_an_arrow(transition.due(record))
    assert transition.due(record).source is Status.SCHEDULED


@given(leases(), st.sampled_from(list(Status)), st.integers(0, 10_000), st.booleans())
def test_after_a_refusal_only_the_holder_of_a_job_asked_to_stop_may_cancel_it(
    lease, status, token, asked
):
    verdict = Verdict(lease.id, accepted=False, status=status, token=token, cancel_requested=asked)

    change = transition.after_refusal(lease, verdict)

    held = status is Status.PROCESSING and token == lease.token
    assert (change is not None) is (held and asked)


def test_nothing_leaves_completed():
    assert ARROWS[Status.COMPLETED] == frozenset()


def test_every_state_can_be_reached_and_every_unended_one_left():
    reached = frozenset.union(*ARROWS.values())

    assert set(Status) == reached | {Status.PENDING, Status.SCHEDULED}
    assert all(ARROWS[status] for status in Status if status not in TERMINAL)


@given(BACKOFFS, st.integers(1, 1_000), DICE)
def test_a_backoff_stays_between_zero_and_its_cap(backoff, attempt, dice):
    assert 0 <= backoff.delay_us(attempt, dice) <= backoff.cap_us


@given(BACKOFFS, st.integers(1, 100), DICE)
def test_jitter_only_shortens_a_backoff(backoff, attempt, dice):
    whole = Backoff(backoff.base_us, backoff.factor, backoff.cap_us, jitter=False)

    assert backoff.delay_us(attempt, dice) <= whole.delay_us(attempt, dice)
    assert whole.delay_us(attempt, dice) <= whole.delay_us(attempt + 1, dice)
