"""Retries as policy, seen from a task."""

import pytest

from outlast.core.errors import JobFailedError
from outlast.core.retry import Backoff, Snooze
from outlast.core.signals import Retry
from tests.worker.rig import AT_ONCE, DEADLINE_S, assert_told, data_of, new_app, running


class NotReady(Exception):
    pass


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


@pytest.mark.parametrize("how", ["raised", "ruled"])
async def test_waiting_for_something_uses_up_no_attempt(app, how):
    asked = []

    @app.task(retries=0, on_error={NotReady: Snooze(0.01)})
    async def poll() -> int:
        asked.append(1)
        if len(asked) < 5:
            if how == "raised":
                raise Retry("not ready", after=0.01, counts=False)
            raise NotReady
        return len(asked)

    handle = await poll.submit()
    async with running(app):
        assert await handle.result(DEADLINE_S) == 5

    row = await assert_told(app.ledger, handle.id)
    assert (row.attempt, row.token, row.error) == (1, 5, None)
    assert [e["attempts_used"] for e in await data_of(app, handle, "retrying")] == [0] * 4


async def test_each_error_has_its_own_wait(app):
    @app.task(retries=2, backoff=AT_ONCE, on_error={OSError: Backoff.constant(0.02)})
    async def moody(n: int) -> None:
        raise (ConnectionError if n else ValueError)("no")

    handles = [await moody.submit(n) for n in (0, 1)]
    async with running(app):
        for handle in handles:
            with pytest.raises(JobFailedError):
                await handle.result(DEADLINE_S)

    waits = [[e["delay_us"] for e in await data_of(app, h, "retrying")] for h in handles]
    assert waits == [[0, 0], [20_000, 20_000]]
