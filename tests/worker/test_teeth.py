"""The laws about killed workers and poison rows have teeth: a planted bug makes each fail."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jobs
import pytest
import test_death
import test_hands
import test_pool
import test_queues

from outlast.core.confinement import WIDEST
from outlast.core.errors import WaitTimeoutError
from outlast.core.retry import Course
from outlast.sdk import task
from outlast.sdk.task import Policy
from outlast.worker import attempt
from outlast.worker.pool import Pool
from tests.ledger_fixtures import plant
from tests.worker import rig
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


@pytest.mark.parametrize("bug", ["the queue over the task", "the queue not heard"])
async def test_a_queue_that_is_not_the_default_of_isolation_is_caught(monkeypatch, bug):
    def queue_first(policy, rules):
        walls = rules.walls.or_else(policy.confinement).or_else(WIDEST)
        return replace(policy, isolation=rules.isolation or policy.isolation, confinement=walls)

    def unheard(policy, _):
        return replace(policy, confinement=policy.confinement.or_else(WIDEST))

    plan = {"the queue over the task": queue_first, "the queue not heard": unheard}[bug]
    monkeypatch.setattr(Policy, "in_queue", plan)

    with pytest.raises(AssertionError):
        await test_queues.test_what_a_task_says_of_isolation_counts_over_its_queue_word_by_word()


async def test_a_stop_that_is_not_heard_in_a_group_is_caught(app, working, monkeypatch):
    async def deaf(work):
        return await work

    monkeypatch.setattr(attempt, "outspoken", deaf)

    with pytest.raises(pytest.fail.Exception):
        await test_pool.test_what_is_said_in_a_task_group_is_heard(app, working, "grouped")


async def test_an_end_that_is_not_heard_in_a_group_is_caught(app, working, monkeypatch):
    def deaf(error, rules, backoff, now_us):
        return Course(again=True, after_us=0)

    monkeypatch.setattr(attempt, "course", deaf)

    with pytest.raises(pytest.fail.Exception):
        await test_pool.test_what_is_said_in_a_task_group_is_heard(app, working, "grouped")


async def test_a_result_that_is_written_loosely_is_caught(app, working, monkeypatch):
    def loosely(adapter, value, _):
        return adapter.dump_json(value).decode()

    monkeypatch.setattr(task, "written", loosely)

    with pytest.raises(pytest.fail.Exception):
        await test_pool.test_a_result_that_json_has_not_fails_the_job_at_once(app, working, "NaN")


async def test_a_claim_that_chokes_on_one_row_is_caught(tmp_path, monkeypatch):
    plant(monkeypatch, "claim", lambda text: text.replace("CAST(args AS BLOB)", "args"))
    monkeypatch.setattr(test_hands, "DEADLINE_S", 1.5)

    async with new_app(tmp_path) as app:
        with pytest.raises(WaitTimeoutError):
            await test_hands.test_a_poison_row_blocks_no_neighbour(app, b"\xff\xfe")


async def test_a_worker_that_keeps_what_it_has_no_room_for_is_caught(app, working, monkeypatch):
    monkeypatch.setattr(Pool, "_be_patient_with", lambda *_: None)
    monkeypatch.setattr(rig, "DEADLINE_S", 1.0)

    with pytest.raises(TimeoutError):
        await test_pool.test_what_was_claimed_ahead_and_not_started_is_given_back(app, working)
