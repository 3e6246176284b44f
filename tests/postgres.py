"""A PostgreSQL that is private to the session that asks for one, with a database for each test."""

import asyncio

import pytest

from outlast.ledger import open_ledger
from outlast.system import new_id
from outlast.testing.postgres import private_postgres

# The server has no TLS, and the driver leaves a socket open when one ends while it asks for that.
PLAIN = "?sslmode=disable"
EMPTY = (
    "TRUNCATE outlast.job, outlast.event, outlast.idempotency, outlast.doc, outlast.level,"
    " outlast.turn, outlast.pace RESTART IDENTITY"
)


class Emptied:
    """A migrated database that is emptied for each who asks: faster than making one for each."""

    def __init__(self, server):
        self._server = server
        self._name = f"laws_{new_id().replace('-', '')}"
        self.url = server.create(self._name) + PLAIN
        asyncio.run(self._migrate())

    async def _migrate(self):
        ledger = open_ledger(self.url)
        await ledger.migrate()
        await ledger.close()

    def fresh(self):
        """Return its URL, empty."""
        self._server.run("psql", "-q", "-d", self._name, "-c", EMPTY)
        return self.url


@pytest.fixture(scope="session")
def postgres():
    """A real server on a free port, with its own defaults."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def database(postgres):
    """The URL of a database of the test's own, in which there is nothing."""
    name = f"test_{new_id().replace('-', '')}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def emptied(postgres):
    """One migrated database, for many tests after each other."""
    return Emptied(postgres)


@pytest.fixture
def migrated(emptied):
    """The URL of a migrated database in which there is no job."""
    return emptied.fresh()
