"""Every store and the reference agree on every answer, and the machine that says so has teeth."""

import itertools
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from outlast.core.errors import OutlastError
from outlast.ledger.postgres.store import PostgresLedger
from outlast.ledger.sqlite import SqliteLedger, read
from outlast.ledger.sqlite.statements import sql
from outlast.testing.machine import differential
from tests.ledger_fixtures import plant

EXAMPLES = int(os.environ.get("OUTLAST_EXAMPLES", "60"))
STEPS = 40
COMMON = {
    "stateful_step_count": STEPS,
    "deadline": None,
    "derandomize": EXAMPLES == 60,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}

MUTANTS = {
    "any token": ("transition", "(:token IS NULL OR token = :token)", "(:token IS NULL OR 1)"),
    "any status": ("transition", "status = :source AND", ":source IS NOT NULL AND"),
    "completion unfenced": ("complete_all", "AND job.token = ended.token", ""),
    "claims what expired": ("claim", "(expires_at IS NULL OR expires_at > :now)", "1"),
    "depth without the scheduled": ("depth", "status = 'scheduled'", "status = 'none'"),
    "a quota that bounds nobody": ("depth_of_tenant", "SELECT count(*)", "SELECT 0 * count(*)"),
    "keys for ever": ("key_find", "AND expires_at > :now", ""),
    "the dead renew": ("extend", "AND lease_until <> 0", ""),
    "late give-up": ("give_up", "lease_until <= :now", "lease_until < :now"),
    "two files of one name": ("transition", "IS NOT json_extract(:art", "IS NOT json(:art"),
    "a page too far": ("find", "number > :after", "number >= :after"),
}  # fmt: skip


def machine(folder):
    files = itertools.count()

    async def open_one():
        ledger = SqliteLedger(str(folder / f"{next(files)}.db"))
        await ledger.migrate()
        return ledger

    return differential(open_one)


def agree(asked, examples):
    # To make a failing example small takes longer than a test may: ask for more examples for that.
    phases = [Phase.generate] if COMMON["derandomize"] else [Phase.generate, Phase.shrink]
    run_state_machine_as_test(
        asked, settings=settings(max_examples=examples, phases=phases, **COMMON)
    )


def test_sqlite_and_the_reference_agree(tmp_path):
    agree(machine(tmp_path), EXAMPLES)


def test_postgres_and_the_reference_agree(emptied):
    async def open_one():
        return PostgresLedger(emptied.fresh())

    agree(differential(open_one), EXAMPLES // 2)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_machine_finds_a_planted_bug(tmp_path, monkeypatch, name):
    file, good, bad = MUTANTS[name]
    real_fragments = read.fragments
    planted = [part for part in [sql(file)] if good in part]
    assert planted or any(good in part for part in real_fragments(file).values())

    def fragments(asked):
        parts = real_fragments(asked)
        return {k: v.replace(good, bad) for k, v in parts.items()} if asked == file else parts

    plant(monkeypatch, file, lambda text: text.replace(good, bad))
    monkeypatch.setattr(read, "fragments", fragments)
    found = settings(max_examples=200, phases=[Phase.generate], print_blob=False, **COMMON)
    with pytest.raises((AssertionError, OutlastError, ExceptionGroup)):
        run_state_machine_as_test(machine(tmp_path), settings=found)
