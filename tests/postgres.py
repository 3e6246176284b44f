"""A PostgreSQL that is private to the session that asks for one, with a database for each test."""

import pytest

from outlast.system import new_id
from outlast.testing.postgres import private_postgres


@pytest.fixture(scope="session")
def postgres():
    """A real server on a free port, with its own defaults."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def database(postgres):
    """The URL of an empty database."""
    name = f"test_{new_id().replace('-', '')}"
    yield postgres.create(name)
    postgres.drop(name)
