"""The laws about killed workers and poison rows have teeth: a planted bug makes each fail."""

from functools import partial
from pathlib import Path

import jobs
import pytest
import test_death
import test_hands

from outlast.core.errors import WaitTimeoutError
from tests.ledger_fixtures import plant
from tests.worker.rig import new_app

FORGETFUL = """
import sys
sys.path.insert(0, {folder!r})
from outlast.sdk.context import Job

async def nothing(self):
    return {{}}

Job._stored = nothing  # the planted bug: what earlier attempts did is not looked up
from jobs import app
"""


async def test_a_worker_that_forgets_its_steps_is_caught(app, fleet, tmp_path):
    file = tmp_path / "forgetful.py"
    file.write_text(FORGETFUL.format(folder=str(Path(jobs.__file__).parent)))

    with pytest.raises(AssertionError):
        await test_death.test_a_job_survives_a_kill_at_each_step_of_its_life(
            app, partial(fleet, file=file), tmp_path
        )


async def test_a_claim_that_chokes_on_one_row_is_caught(tmp_path, monkeypatch):
    plant(monkeypatch, "claim", lambda text: text.replace("CAST(args AS BLOB)", "args"))
    monkeypatch.setattr(test_hands, "DEADLINE_S", 1.5)

    async with new_app(tmp_path) as app:
        with pytest.raises(WaitTimeoutError):
            await test_hands.test_a_poison_row_blocks_no_neighbour(app, b"\xff\xfe")
