"""The conformance suite: what every ledger must hold, as laws that anybody can run on their own.

A law is an `async def` that takes an empty, migrated ledger, and whose name is what it proves::

    from outlast.testing.exercise import LAWS


    @pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
    async def test_my_ledger(law, my_ledger):
        await law(my_ledger)

Laws pass every instant themselves, so they need no clock, no dice and no waiting.
"""

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Final

from outlast.ledger.protocol import Ledger
from outlast.testing import (
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


def laws_of(module: ModuleType) -> dict[str, Law]:
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


async def exercise_ledger(open_ledger: Callable[[], Awaitable[Ledger]]) -> None:
    """Run every law on a fresh ledger; for those who don't use pytest."""
    for law in LAWS.values():
        ledger = await open_ledger()
        try:
            await law(ledger)
        finally:
            await ledger.close()
