"""A ledger in a file of its own, with two workers."""

import pytest
from ledger_fixtures import LEASE, NOW

from outlast.ledger import open_ledger


@pytest.fixture
async def ledger(tmp_path):
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    await opened.migrate()
    await opened.put("worker", "w1", "{}", ttl_us=LEASE, now=NOW)
    await opened.put("worker", "w2", "{}", ttl_us=LEASE, now=NOW)
    yield opened
    await opened.close()
