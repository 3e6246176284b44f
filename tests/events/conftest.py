"""Ledgers with a history, and a Kafka to publish it to."""

from contextlib import ExitStack

import pytest

from outlast.core.errors import CapabilityError
from outlast.ledger import open_ledger
from outlast.testing.kafka import private_kafka
from tests.conftest import needs_server
from tests.events.rig import Place


@pytest.fixture(scope="session")
def kafka():
    """A Kafka of the session's own; who stops it starts another."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_kafka())
        except CapabilityError as error:
            needs_server("kafka", error)
        yield server


@pytest.fixture
def place(kafka):
    return Place(kafka)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
async def ledger(url):
    opened = open_ledger(url)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either_url(request):
    asked = {"sqlite": "url", "postgres": "migrated"}[request.param]
    return request.getfixturevalue(asked)


@pytest.fixture
async def either(either_url):
    """A ledger of each kind that processes share."""
    opened = open_ledger(either_url)
    await opened.migrate()
    yield opened
    await opened.close()
