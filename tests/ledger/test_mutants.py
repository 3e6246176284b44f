"""The laws have teeth: each planted bug makes a named law fail."""

import pytest
import test_laws as laws

from outlast.core.errors import OutlastError
from outlast.ledger.sqlite import write
from outlast.ledger.sqlite.statements import sql
from outlast.testing import commit_laws, lease_laws, quota_laws, record_laws, sole_laws, submit_laws
from tests.ledger_fixtures import plant

MUTANTS = {
    "no fencing": (
        "transition", "AND (:token IS NULL OR token = :token)", "AND (:token IS NULL OR 1)",
        laws.test_a_stale_token_never_commits,
    ),
    "completion without a fence": (
        "complete_all", "AND job.token = ended.token", "",
        laws.test_a_stale_token_never_commits,
    ),
    "reaper that overwrites": (
        "transition", "status = :source AND", ":source IS NOT NULL AND",
        laws.test_a_stale_reaper_never_overwrites_a_completion,
    ),
    "early reaper": (
        "give_up", "lease_until <= :now", "lease_until <= :now + 60000000",
        laws.test_a_lease_renewed_in_time_is_never_taken,
    ),
    "the dead renew": (
        "extend", "AND lease_until <> 0", "", laws.test_a_lease_given_up_is_never_renewed,
    ),
    "retry in spite of a cancel": (
        "transition", "AND NOT (:unless_cancelled AND cancel_requested_at IS NOT NULL)",
        "AND :unless_cancelled IN (0, 1)", laws.test_no_attempt_starts_after_a_cancel,
    ),
    "promotion before its time": (
        "transition", "AND (:when IS NULL OR :now >=", "AND (:when IS NULL OR :now IS NOT",
        commit_laws.test_what_waits_for_its_time_is_refused_before_it,
    ),
    "claim what is taken": (
        "claim", "status = 'pending' AND queue", "status IN ('pending', 'processing') AND queue",
        laws.test_a_job_is_claimed_once,
    ),
    "keys that are not looked up": (
        "key_find", "expires_at > :now", "expires_at > :now AND 0",
        laws.test_fifty_callers_with_one_key_make_one_job,
    ),
    "keys without tenants": (
        "key_find", "tenant = :tenant", ":tenant IS NOT NULL",
        laws.test_a_key_with_another_request_is_refused_and_other_tenants_are_apart,
    ),
    "last in, first out": (
        "claim", "ORDER BY number", "ORDER BY number DESC",
        laws.test_a_released_job_costs_no_attempt_and_keeps_its_place,
    ),
    "a quota of the queue": (
        "depth_of_tenant", "tenant = :tenant AND tenant <> ''", "tenant = :tenant AND queue = 'q'",
        quota_laws.test_a_quota_counts_what_waits_of_its_tenant_in_every_queue,
    ),
    "a quota shared by tenants": (
        "depth_of_tenant", "tenant = :tenant AND", "(tenant = :tenant OR tenant <> '') AND",
        quota_laws.test_a_quota_counts_what_waits_of_its_tenant_in_every_queue,
    ),
    "a quota without the scheduled": (
        "depth_of_tenant", "('pending', 'scheduled')", "('pending', 'none')",
        quota_laws.test_a_quota_counts_what_waits_of_its_tenant_in_every_queue,
    ),
    "a quota of what runs": (
        "depth_of_tenant", "('pending', 'scheduled')", "('pending', 'scheduled', 'processing')",
        quota_laws.test_what_was_started_makes_room_in_a_quota,
    ),
    "the oldest of an intention": (
        "sole_find", "ORDER BY number DESC", "ORDER BY number",
        sole_laws.test_the_newest_job_of_an_intention_counts,
    ),
    "an intention in any state": (
        "sole_find", "status = :status", ":status IS NOT NULL",
        sole_laws.test_an_intention_is_free_again_when_its_job_has_left_the_states,
    ),
    "a prune that looks only at IDs": (
        "prune_ids", "finished_at < :before", "finished_at < :before + 60000000",
        record_laws.test_what_ended_anew_meanwhile_is_not_pruned,
    ),
    "tombstones for ever": (
        "prune_docs", "lease_until <= :now", "lease_until <= :now AND 0",
        record_laws.test_tombstones_and_uploads_go_when_their_time_is_over,
    ),
    "an instant that drifts": (
        "transition", "coalesce(:run_at, :now + :delay_us,", "coalesce(:now + :delay_us, :run_at,",
        submit_laws.test_a_job_that_is_moved_to_an_instant_runs_then_whenever_that_was_said,
    ),
    "an event without its number": (
        "transition", "seq = seq + (:event <> '')", "seq = seq + 2",
        laws.test_folding_the_history_gives_the_row,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_planted_bug_is_caught(ledger, monkeypatch, name):
    file, good, bad, law = MUTANTS[name]
    assert good in sql(file)
    plant(monkeypatch, file, lambda text: text.replace(good, bad))

    if law is laws.test_folding_the_history_gives_the_row:
        trial = law.hypothesis.inner_test(ledger, ["claim", "release"])
    else:
        trial = law(ledger)
    # An assertion of the law, a row that is not there, or the store's own refusal.
    with pytest.raises((AssertionError, ValueError, OutlastError)):
        await trial


async def test_a_batch_that_completes_a_job_twice_is_caught(ledger, monkeypatch):
    monkeypatch.setattr(write, "are_distinct", lambda _changes: True)

    with pytest.raises((AssertionError, OutlastError)):
        await lease_laws.test_of_two_completions_in_one_call_the_first_counts(ledger)
