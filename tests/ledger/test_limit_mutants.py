"""The laws about limits and turns have teeth: each planted bug makes a named law fail."""

import pytest
import test_laws as laws

from outlast.core import share
from outlast.core.errors import OutlastError
from outlast.core.share import TURN, Gate, Limits, Rate
from outlast.ledger import turns
from outlast.ledger.sqlite.statements import sql
from outlast.testing import lease_laws, limit_laws, turn_laws
from tests.ledger_fixtures import plant

STATEMENTS = {
    "nothing counts as running": (
        "running", "status = 'processing'", "status = 'processing' AND 0",
        limit_laws.test_no_more_run_at_once_than_the_limit_says,
    ),
    "the dead don't count": (
        "running", "'processing'", "'processing' AND holder <> 'w1'",
        limit_laws.test_a_dead_workers_leases_count_until_they_are_taken_back,
    ),
    "who comes back stands in no line": (
        "line_join", "AND status = 'pending'", "AND status = 'none'",
        lease_laws.test_a_job_for_later_starts_only_when_due,
    ),
    "a rate without a memory": (
        "pace", "WHERE subject", "WHERE 0 AND subject",
        limit_laws.test_a_rate_is_never_exceeded_in_any_window,
    ),
    "a declared limit over one set live": (
        "limits", "'limit'", "'none'",
        limit_laws.test_what_is_set_live_beats_what_code_declares_which_beats_the_default,
    ),
    "turns that are not remembered": (
        "line_turn", "pass = :pass", "pass = 0 * :pass",
        turn_laws.test_keys_take_turns_however_many_jobs_each_has,
    ),
    "the last of a line first": (
        "waiting", "ORDER BY number", "ORDER BY number DESC",
        turn_laws.test_inside_a_key_and_priority_the_oldest_goes_first,
    ),
}  # fmt: skip


OWN = Limits.own


def one_key_for_all(_tenant, key):
    return f"own-key:0::{key}"


def run_together(tenant, key):
    return f"own-key:{tenant}:{key}"


def each_tenant_its_own(limits, subject):
    return None if subject.startswith("key:") and subject != "key:*" else OWN(limits, subject)


OWN_KEYS_ALONE = {**share._NAMED, "key": share._NAMED["own-key"]}


CODE = {
    "a default that counts all tenants": (
        share, "own_key", one_key_for_all,
        limit_laws.test_the_default_of_keys_counts_the_key_of_each_tenant_by_itself,
    ),
    "a default rate that counts all tenants": (
        share, "own_key", one_key_for_all,
        limit_laws.test_the_default_rate_of_keys_holds_for_each_tenant_by_itself,
    ),
    "names of keys that run into one another": (
        share, "own_key", run_together,
        limit_laws.test_the_default_of_keys_counts_the_key_of_each_tenant_by_itself,
    ),
    "a named key that is each tenant's own": (
        Limits, "own", each_tenant_its_own,
        limit_laws.test_a_key_with_a_limit_of_its_own_is_one_for_all_tenants,
    ),
    "running jobs of a named key that don't count": (
        share, "_NAMED", OWN_KEYS_ALONE,
        limit_laws.test_a_key_that_is_given_a_limit_counts_what_runs_of_every_tenant,
    ),
    "starts of a batch don't count": (
        Gate, "take", lambda *_: None, limit_laws.test_a_batch_is_bound_as_single_claims_are,
    ),
    "a rate that saves up": (
        Rate, "_due", lambda _, pace: pace.due,
        limit_laws.test_a_rate_changed_live_counts_from_the_last_start,
    ),
    "turns that are saved up": (
        turns.Level, "turn", lambda level, one: level.passes.get(one.lane, one.passed),
        turn_laws.test_who_was_away_or_stopped_has_saved_up_no_turns,
    ),
    "two lanes and no more": (
        turns.Stream, "_may_come_first", lambda *_: False,
        turn_laws.test_keys_take_turns_however_many_jobs_each_has,
    ),
    "all weigh alike": (
        share, "step_of", lambda _: TURN, turn_laws.test_turns_are_shared_by_weight,
    ),
    "priority alone": (
        turns, "AGED_EVERY", 10**9, turn_laws.test_every_tenth_start_goes_to_whoever_waits_longest,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_planted_statement_is_caught(ledger, monkeypatch, name):
    file, good, bad, law = STATEMENTS[name]
    assert good in sql(file)
    plant(monkeypatch, file, lambda text: text.replace(good, bad))

    with pytest.raises((AssertionError, ValueError, OutlastError)):
        await law(ledger)


@pytest.mark.parametrize("name", CODE)
async def test_a_planted_rule_is_caught(ledger, monkeypatch, name):
    where, what, bad, law = CODE[name]
    monkeypatch.setattr(where, what, bad)

    with pytest.raises((AssertionError, ValueError, OutlastError)):
        await law(ledger)


async def test_a_statement_that_is_left_open_is_caught(ledger, tmp_path, monkeypatch):
    left_open = []  # kept, because the collector would close them
    monkeypatch.setattr(turns.Stream, "close", left_open.append)

    with pytest.raises((AssertionError, OutlastError)):
        await laws.test_a_claim_from_many_lines_leaves_no_statement_open(ledger, tmp_path)
