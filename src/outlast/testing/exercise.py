"""The conformance suites: what ledgers and brokers must hold, as laws to run on one's own.

A law is an `async def` that takes an empty, migrated ledger, and whose name is what it proves::

    from outlast.testing.exercise import LAWS


    @pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
    async def test_my_ledger(law, my_ledger):
        await law(my_ledger)

Laws pass every instant themselves, so they need no clock, no dice and no waiting. Those of brokers
stand in `BROKER_LAWS`; they take a `House`, of `broker_laws`, and wait for what a server does.
"""

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Final

from outlast.ledger.protocol import Ledger
from outlast.testing import (
    broker_laws,
    commit_laws,
    lease_laws,
    limit_laws,
    quota_laws,
    record_laws,
    sole_laws,
    submit_laws,
    turn_laws,
)

Law = Callable[[Ledger], Awaitable[None]]
BrokerLaw = Callable[[broker_laws.House], Awaitable[None]]


def laws_of(module: ModuleType) -> dict[str, Any]:
    """Return the laws of a module by their names."""
    return {name: law for name, law in vars(module).items() if name.startswith("test_")}


LAWS: Final[dict[str, Law]] = {
    name: law
    for module in (
        submit_laws,
        sole_laws,
        lease_laws,
        limit_laws,
        quota_laws,
        turn_laws,
        commit_laws,
        record_laws,
    )
    for name, law in laws_of(module).items()
}

BROKER_LAWS: Final[dict[str, BrokerLaw]] = laws_of(broker_laws)


async def exercise_ledger(open_ledger: Callable[[], Awaitable[Ledger]]) -> None:
    """Run every law on a fresh ledger; for those who don't use pytest."""
    for law in LAWS.values():
        ledger = await open_ledger()
        try:
            await law(ledger)
        finally:
            await ledger.close()


async def exercise_broker(house: broker_laws.House) -> None:
    """Run every law on a broker's server; for those who don't use pytest."""
    for law in BROKER_LAWS.values():
        await law(house)
