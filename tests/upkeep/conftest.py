"""A clock that stands still, and the reference ledger that goes by it."""

import pytest

from outlast.ledger.memory import MemoryLedger
from tests.upkeep.rig import Hands


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock=clock)
