"""Cancel, completion and timeout at the same moment: one wins, and everybody is told which."""

import asyncio
import os
import random
from collections import Counter, defaultdict

import pytest

from outlast.core.errors import JobCancelledError, JobFailedError, WaitTimeoutError
from outlast.core.status import Status
from outlast.sdk.context import Job
from outlast.sdk.handle import Handle
from outlast.testing.checker import LAWS, Asked, violations
from tests.reliability.rig import story
from tests.worker.rig import new_app, running

RACES = int(os.environ.get("OUTLAST_RACES", "300"))
AT_ONCE, SEED, PATIENCE_S = 50, 60, 20
# All three come within the spread; a cancel is heard of some milliseconds after it was asked for.
TIMEOUT_S, LEAD_S, SPREAD_S = 0.25, 0.07, 0.04


async def race(app, block, dice):
    """Submit a job that its own end, its time limit and a cancel meet; return what was told."""
    loop = asyncio.get_running_loop()
    handle = await block.submit(ends_in=TIMEOUT_S + dice.uniform(-SPREAD_S, SPREAD_S))
    await app.races[handle.id]  # it has started
    asked = loop.create_future()
    loop.call_later(TIMEOUT_S - LEAD_S + dice.uniform(-SPREAD_S, SPREAD_S), asked.set_result, None)
    await asked
    cancel = asyncio.create_task(handle.cancel(timeout=PATIENCE_S))
    try:
        result = await handle.result(timeout=PATIENCE_S)
    except JobCancelledError:
        result = "cancelled"
    except JobFailedError as error:
        result = "timeout" if "longer than" in str(error) else str(error)
    except WaitTimeoutError:
        result = "nothing"
    (outcome,) = await asyncio.gather(cancel, return_exceptions=True)
    return handle, outcome, result


async def races(folder, number, together=AT_ONCE):
    """Run so many races on two pools; return the winners, and what contradicts a promise."""
    dice, won, wrong = random.Random(SEED), Counter(), []
    async with new_app(folder) as app:
        app.races = defaultdict(asyncio.get_running_loop().create_future)

        @app.task(retries=0, timeout=TIMEOUT_S)
        async def block(job: Job, ends_in: float) -> str:
            end = asyncio.Event()
            asyncio.get_running_loop().call_later(ends_in, end.set)
            app.races[job.id].set_result(None)
            await end.wait()
            return "completed"

        handles = []
        async with (
            running(app, holder="a", concurrency=together),
            running(app, holder="b", concurrency=together),
        ):
            for _ in range(0, number, together):
                told = await asyncio.gather(*(race(app, block, dice) for _ in range(together)))
                for handle, outcome, result in told:
                    handles.append(handle)
                    status = (await handle.record()).status
                    won[status.value] += 1
                    right = {
                        Status.COMPLETED: ("completed", {"too-late"}),
                        Status.FAILED: ("timeout", {"too-late"}),
                        Status.CANCELLED: ("cancelled", {"cancelled", "killed"}),
                    }.get(status, ("an end", {}))
                    if result != right[0] or outcome not in right[1]:
                        wrong.append(f"{status}: told {result!r}, cancel said {outcome!r}")
        told = await story(app.ledger, folder, [Asked("accepted", h.id) for h in handles])
        return won, wrong + violations(told, LAWS)


@pytest.mark.fault("F60")
async def test_one_of_cancel_completion_and_timeout_wins_and_all_are_told_the_same(tmp_path):
    won, wrong = await races(tmp_path, RACES)

    assert wrong == []
    assert won.total() == RACES
    assert min(won[status] for status in ("completed", "failed", "cancelled")) > 0, won


async def test_that_law_finds_a_cancel_that_says_it_came_in_time(tmp_path, monkeypatch):
    async def boastful(self, timeout):
        return "cancelled"

    monkeypatch.setattr(Handle, "_stopped", boastful)

    assert (await races(tmp_path, AT_ONCE))[1]
