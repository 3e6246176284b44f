"""Brokers to judge, each with its house."""

import pytest

from tests.broker.houses import MemoryHouse


@pytest.fixture(params=["memory"])
def house():
    return MemoryHouse()
