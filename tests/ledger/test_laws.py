"""What every ledger must hold, on the file that users get."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_fixtures import LEASE, NOW, job, want

from outlast.core import transition as tr
from outlast.core.fold import fold, of_row
from outlast.core.job import Filter, Page
from outlast.core.retry import Backoff
from outlast.core.status import Status
from outlast.ledger import open_ledger
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.loop import Upkeep

NO_WAIT = Backoff(base_us=0)
ERROR = {"type": "E", "message": "m", "retryable": True}


async def row(ledger, job_id):
    return (await ledger.get([job_id]))[0]


async def test_what_goes_in_comes_out(ledger):
    args = json.dumps(
        {"text": "ünï ☃ \u2028 '; DROP TABLE job; --", "big": 2**70, "list": [1, None]}
    )
    (made,) = await ledger.insert([job(args=args)])

    assert (await row(ledger, made.id)).args == args


async def test_higher_priority_first_then_oldest(ledger):
    made = [j.id for j in await ledger.insert([job(), job(priority=5), job(), job(priority=5)])]

    leases = await ledger.claim(want())

    assert [lease.id for lease in leases] == [made[1], made[3], made[0], made[2]]


async def test_a_job_is_claimed_once(ledger):
    await ledger.insert([job() for _ in range(40)])

    batches = await asyncio.gather(*(ledger.claim(want(h, 7)) for h in ("w1", "w2") * 6))

    ids = [lease.id for batch in batches for lease in batch]
    assert len(ids) == len(set(ids)) == 40


async def test_a_stale_token_never_commits(ledger):
    await ledger.insert([job()])
    (old,) = await ledger.claim(want("w1"), now=NOW)
    await ledger.commit([tr.lost(old, reason="test", at="", dice=0.0)], now=NOW)
    (new,) = await ledger.claim(want("w2"), now=NOW)

    for change in (
        tr.completed(old, '"stale"'),
        tr.failed(old, ERROR, backoff=NO_WAIT, dice=0.0),
        tr.released(old),
        tr.cancelled(old, "x"),
        tr.amended(old, "progress", "{}", progress="{}"),
        tr.amended(old, "artifact", "{}", artifact='{"name": "x"}'),
    ):
        (verdict,) = await ledger.commit([change])
        assert not verdict.accepted
    (verdict,) = await ledger.commit([tr.completed(new, '"fresh"')])
    assert verdict.accepted
    assert (await row(ledger, new.id)).result == '"fresh"'


async def test_a_stale_reaper_never_overwrites_a_completion(ledger):
    await ledger.insert([job()])
    (lease,) = await ledger.claim(want("w1"), now=NOW)
    (read_by_reaper,) = await ledger.expired(10, now=NOW + LEASE + 1)
    await ledger.commit([tr.completed(lease, "1")], now=NOW + LEASE + 2)

    (verdict,) = await ledger.commit([tr.lost(read_by_reaper, reason="late", at="", dice=0.0)])

    assert not verdict.accepted
    assert (await row(ledger, lease.id)).status is Status.COMPLETED


async def test_a_lease_renewed_in_time_is_never_taken(ledger):
    await ledger.insert([job()])
    await ledger.claim(want("w1"), now=NOW)
    assert await ledger.extend(["w1"], LEASE, now=NOW + LEASE - 1) == []

    assert await ledger.expired(10, now=NOW + LEASE + 1) == []


async def test_a_lease_given_up_is_never_renewed(ledger):
    await ledger.insert([job()])
    await ledger.claim(want("w1"), now=NOW)
    await ledger.extend(["w1"], 0, now=NOW)

    assert await ledger.extend(["w1"], LEASE, now=NOW) == ["w1"]
    assert len(await ledger.expired(10, now=NOW)) == 1
    assert await ledger.claim(want("w1"), now=NOW) == []


async def test_a_lost_job_runs_again_and_then_is_dead_lettered(ledger):
    upkeep = Upkeep(ledger, clock=CLOCK, entropy=ENTROPY)
    (made,) = await ledger.insert([job(max_attempts=10)], now=NOW)
    statuses = []
    for n in range(3):
        await ledger.put("worker", f"victim{n}", "{}", ttl_us=LEASE, now=NOW)
        at = NOW + n * 3_600_000_000
        await upkeep.promote(at)
        (lease,) = await ledger.claim(want(f"victim{n}"), now=at)
        await ledger.extend([lease.holder], 0, now=at)
        assert await upkeep.reap(at) == 1
        statuses.append((await row(ledger, made.id)).status)

    assert statuses[0] is Status.PENDING
    assert statuses[2] is Status.FAILED
    assert json.loads((await row(ledger, made.id)).error)["reason"] == "crashed"


async def test_a_released_job_costs_no_attempt_and_keeps_its_place(ledger):
    first, _ = await ledger.insert([job(), job()])
    (lease,) = await ledger.claim(want(limit=1))

    await ledger.commit([tr.released(lease)])

    assert (await row(ledger, first.id)).attempt == 0
    (again,) = await ledger.claim(want(limit=1))
    assert (again.id, again.token, again.attempt) == (first.id, 2, 1)


async def test_attempts_end_in_the_dead_letters_and_a_redrive_counts_anew(ledger):
    (made,) = await ledger.insert([job(max_attempts=2)])
    for _ in range(2):
        (lease,) = await ledger.claim(want())
        await ledger.commit([tr.failed(lease, ERROR, backoff=NO_WAIT, dice=0.0)])
    assert (await row(ledger, made.id)).status is Status.FAILED
    assert await ledger.claim(want()) == []

    await ledger.commit([tr.redriven(made.id, Status.FAILED)])

    (lease,) = await ledger.claim(want())
    assert (lease.attempt, lease.token) == (1, 3)
    assert (await row(ledger, made.id)).run == 2


async def test_cancel_and_complete_have_one_winner(ledger):
    for cancel_first in (True, False):
        (made,) = await ledger.insert([job()])
        (lease,) = await ledger.claim(want())
        ask = tr.cancel(made.id, Status.PROCESSING, reason="r")
        pair = [ask, tr.completed(lease, "1")] if cancel_first else [tr.completed(lease, "1"), ask]
        verdicts = await ledger.commit(pair)
        ends = [e for e in await ledger.history(made.id) if e.type in {"completed", "cancelled"}]
        assert len(ends) == 1
        assert verdicts[-1].accepted is cancel_first


async def test_no_attempt_starts_after_a_cancel(ledger):
    (made,) = await ledger.insert([job()])
    (lease,) = await ledger.claim(want())
    await ledger.commit([tr.cancel(made.id, Status.PROCESSING, reason="r")])

    (verdict,) = await ledger.commit([tr.failed(lease, ERROR, backoff=NO_WAIT, dice=0.0)])

    assert not verdict.accepted
    await ledger.commit([tr.after_refusal(lease, verdict)])
    assert (await row(ledger, made.id)).status is Status.CANCELLED
    assert await ledger.claim(want()) == []


async def test_fifty_callers_with_one_key_make_one_job(ledger):
    jobs = [job(key="k", fingerprint="f") for _ in range(50)]

    answers = await asyncio.gather(*(ledger.insert([j]) for j in jobs))

    assert len({a[0].id for a in answers}) == 1
    assert sum(a[0].outcome == "created" for a in answers) == 1
    assert (await ledger.count(Filter(), ""))[()] == 1


@pytest.mark.fault("F17")
async def test_a_key_with_another_request_is_refused_and_other_tenants_are_apart(ledger):
    await ledger.insert([job(key="k", fingerprint="f")])

    (other,) = await ledger.insert([job(key="k", fingerprint="g")])
    (tenant,) = await ledger.insert([job(key="k", fingerprint="g", tenant="b")])

    assert (other.outcome, tenant.outcome) == ("conflict", "created")


async def test_a_key_is_forgotten_after_its_time(ledger):
    await ledger.insert([job(key="k", key_ttl_us=10)], now=NOW)

    (again,) = await ledger.insert([job(key="k")], now=NOW + 10)

    assert again.outcome == "created"


async def test_depth_is_never_exceeded(ledger):
    answers = await asyncio.gather(*(ledger.insert([job(max_depth=5)]) for _ in range(20)))

    assert sorted(a[0].outcome for a in answers) == ["created"] * 5 + ["full"] * 15


async def test_an_atomic_batch_is_stored_whole_or_not_at_all(ledger):
    outcomes = await ledger.insert([job(max_depth=1), job(max_depth=1)], atomic=True)

    assert [o.outcome for o in outcomes] == ["aborted", "full"]
    assert await ledger.find(Filter(), Page()) == []


async def test_a_bad_write_harms_no_neighbour_in_its_group(ledger):
    bad = job(args=None)  # the column refuses it
    results = await asyncio.gather(
        ledger.insert([job()]), ledger.insert([bad]), ledger.insert([job()]), return_exceptions=True
    )

    assert [isinstance(r, Exception) for r in results] == [False, True, False]


async def test_a_paused_queue_gives_nothing(ledger):
    await ledger.insert([job()])
    await ledger.put("queue", "default", '{"paused": true}')
    assert await ledger.claim(want()) == []

    await ledger.put("queue", "default", '{"paused": false}')

    assert len(await ledger.claim(want())) == 1


async def test_a_delayed_job_waits_and_an_expired_one_never_starts(ledger):
    upkeep = Upkeep(ledger, clock=CLOCK, entropy=ENTROPY)
    late, soon = await ledger.insert([job(expires_in_us=5), job(delay_us=100)], now=NOW)
    await upkeep.tick(NOW + 99)
    assert await ledger.claim(want(), now=NOW + 99) == []
    assert (await row(ledger, late.id)).status is Status.CANCELLED

    await upkeep.tick(NOW + 100)

    assert [x.id for x in await ledger.claim(want(), now=NOW + 100)] == [soon.id]


async def test_pruning_forgets_ended_jobs_and_leaves_a_tombstone(ledger):
    old, new = await ledger.insert([job(), job()])
    leases = await ledger.claim(want(), now=NOW)
    await ledger.commit([tr.completed(leases[0], "1")], now=NOW)

    pruned = await ledger.prune(NOW + 1, 10)

    assert pruned.ids == (old.id,)
    assert await ledger.get([old.id, new.id]) == [None, await row(ledger, new.id)]
    assert await ledger.history(old.id) == []
    assert len(await ledger.docs("tombstone", old.id)) == 1


async def test_documents_change_only_at_the_expected_version(ledger):
    assert await ledger.put("k", "a", "1", version=0)
    assert not await ledger.put("k", "a", "2", version=0)
    assert await ledger.put("k", "a", "2", version=1)
    assert [(d.version, d.doc) for d in await ledger.docs("k")] == [(2, "2")]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.sampled_from(
            ["claim", "complete", "fail", "release", "lose", "cancel", "redrive", "progress"]
        ),
        max_size=25,
    )
)
async def test_folding_the_history_gives_the_row(ledger, steps):
    (made,) = await ledger.insert([job(max_attempts=3)])
    held = None
    for step in steps:
        now = await row(ledger, made.id)
        match step:
            case "claim":
                found = [x for x in await ledger.claim(want(limit=100)) if x.id == made.id]
                held = found[0] if found else held
            case "complete" if held:
                await ledger.commit([tr.completed(held, "1")])
            case "fail" if held:
                await ledger.commit([tr.failed(held, ERROR, backoff=NO_WAIT, dice=0.0)])
            case "release" if held:
                await ledger.commit([tr.released(held)])
            case "lose" if held:
                await ledger.commit([tr.lost(held, reason="r", at="", dice=0.0)])
            case "cancel" if change := tr.cancel(made.id, now.status, reason="r"):
                await ledger.commit([change])
            case "redrive" if change := tr.redriven(made.id, now.status):
                await ledger.commit([change])
            case "progress" if held:
                await ledger.commit([tr.amended(held, "progress", "{}", progress="{}")])
        events, now = await ledger.history(made.id), await row(ledger, made.id)
        assert fold(events) == of_row(now)
        assert [e.seq for e in events] == list(range(1, now.seq + 1))


LINE = {"queue": "q", "priority": 0, "tenant": "", "key": "", "task": "t", "now": 1}


@pytest.mark.parametrize(
    ("statement", "index", "binds"),
    [
        ("claim", "job_line", {**LINE, "holder": "w", "limit": 1}),
        ("waiting", "COVERING INDEX job_line", {**LINE, "head": 0, "limit": 1}),
        ("stream", "COVERING INDEX job_line", LINE),
        ("streams", "line_turn", LINE),
        ("running", "COVERING INDEX job_held", {}),
        ("turns_forget", "line_turn", {**LINE, "at": 1}),
        ("pace", "PRIMARY KEY", {"subject": "queue:q"}),
        ("depth_of_tenant", "COVERING INDEX job_of_tenant", {"tenant": "a", "limit": 9}),
    ],
)
async def test_a_claim_reads_its_indexes_and_nothing_else(
    ledger, statement, index, binds, tmp_path
):
    import apsw

    from outlast.ledger.sqlite.statements import sql

    db = apsw.Connection(f"{tmp_path}/ledger.db")
    plan = [r[3] for r in db.execute(f"EXPLAIN QUERY PLAN {sql(statement)}", binds)]
    db.close()

    assert any(index in step for step in plan), plan
    # What holds a lease is counted whole: there is never much of it.
    scans = [step for step in plan if step.startswith("SCAN ")]
    few = ("job_held", "stream", "(subquery")
    assert [step for step in scans if not any(name in step for name in few)] == []
    assert statement == "running" or not any("TEMP B-TREE" in step for step in plan)


async def test_a_claim_from_many_lines_leaves_no_statement_open(ledger, tmp_path):
    """One that is left open holds an old state of the file, so that nothing more can be written."""
    other = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    await ledger.insert([job(concurrency_key=f"k{n}") for n in range(9)])

    leases = await ledger.claim(want(limit=2))
    await other.insert([job()])
    await other.close()

    async with asyncio.timeout(5):
        verdicts = await ledger.commit([tr.completed(lease, "1") for lease in leases])
    assert all(verdict.accepted for verdict in verdicts)
