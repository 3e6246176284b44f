"""Brokers to judge, each with its house; a server that several tests use is started once."""

import pytest

from outlast.testing.sqs import private_sqs
from tests.broker.houses import MemoryHouse
from tests.broker.sqs_house import SqsHouse


@pytest.fixture(scope="session")
def sqs():
    """An SQS of the session's own."""
    with private_sqs() as server:
        yield server


@pytest.fixture(params=["memory", "sqs", "sqs_fifo"])
def house(request):
    if request.param == "memory":
        return MemoryHouse()
    return SqsHouse(request.getfixturevalue("sqs"), fifo=request.param == "sqs_fifo")
