"""The app of these tests on a ledger in one file, and fleets of real processes on it."""

from pathlib import Path

import faulty
import pytest

from outlast.sdk.settings import Settings
from tests.worker.rig import fleets

APP = Path(faulty.__file__)


@pytest.fixture
async def app(tmp_path):
    faulty.app.configure(
        Settings(ledger=f"sqlite:///{tmp_path}/ledger.db", blobs=str(tmp_path / "blobs"))
    )
    await faulty.app.open()
    yield faulty.app
    await faulty.app.close()


@pytest.fixture
def fleet(tmp_path):
    """Start `outlast worker` as a user does; whatever is left at the end is killed."""
    with fleets(tmp_path, APP) as start:
        yield start
