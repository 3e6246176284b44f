"""Every ledger of ours holds every law."""

import pytest

from outlast.ledger.memory import MemoryLedger
from outlast.ledger.postgres.store import PostgresLedger
from outlast.ledger.protocol import Capability
from outlast.ledger.sqlite import SqliteLedger
from outlast.testing.exercise import LAWS, exercise_ledger

SHARED = frozenset({Capability.DURABLE, Capability.SHARED, Capability.TRANSACTIONS})
STORES = {
    "memory": (lambda _: MemoryLedger(), frozenset()),
    "sqlite": (lambda ask: SqliteLedger(f"{ask('tmp_path')}/law.db"), SHARED),
    "postgres": (lambda ask: PostgresLedger(ask("migrated")), SHARED),
}


@pytest.fixture(params=STORES)
def closed_store(request):
    """Each of our ledgers, empty; opened where there is a loop."""
    return request.param, STORES[request.param][0](request.getfixturevalue)


@pytest.fixture
async def store(closed_store):
    _, opened = closed_store
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
async def test_a_ledger_holds(law, store):
    await law(store)


async def test_a_ledger_declares_what_it_can(closed_store, store):
    name, _ = closed_store

    facts = await store.check()

    assert store.capabilities == STORES[name][1]
    assert facts["store"] == name


async def test_the_suite_runs_without_a_test_runner():
    opened = []

    async def open_one():
        opened.append(MemoryLedger())
        return opened[-1]

    await exercise_ledger(open_one)

    assert len(opened) == len(LAWS) > 60
