"""Ledgers with a history, and a Kafka to publish it to."""

import pytest

from outlast.ledger import open_ledger
from tests.events.rig import Place


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
