"""Every ledger of ours holds every law."""

import pytest

from outlast.ledger.memory import MemoryLedger
from outlast.ledger.protocol import Capability
from outlast.ledger.sqlite import SqliteLedger
from outlast.testing.exercise import LAWS, exercise_ledger

STORES = {
    "memory": (lambda _: MemoryLedger(), frozenset()),
    "sqlite": (
        lambda folder: SqliteLedger(str(folder / "law.db")),
        frozenset({Capability.DURABLE, Capability.SHARED}),
    ),
}


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    make, _ = STORES[request.param]
    opened = make(tmp_path)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
async def test_a_ledger_holds(law, store):
    await law(store)


@pytest.mark.parametrize("name", STORES)
async def test_a_ledger_declares_what_it_can(name, tmp_path):
    make, capabilities = STORES[name]
    opened = make(tmp_path)
    await opened.migrate()
    facts = await opened.check()
    await opened.close()

    assert opened.capabilities == capabilities
    assert facts["store"] == name


async def test_the_suite_runs_without_a_test_runner():
    opened = []

    async def open_one():
        opened.append(MemoryLedger())
        return opened[-1]

    await exercise_ledger(open_one)

    assert len(opened) == len(LAWS) > 60
