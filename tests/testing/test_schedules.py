"""Schedules tick in a test's own time."""

from outlast import Outlast
from outlast.testing import testing


async def test_the_schedules_of_an_app_tick_as_time_passes():
    app = Outlast()
    seen = []

    @app.schedule("0 3 * * *", zone="Europe/Berlin")
    @app.task
    async def nightly() -> None:
        seen.append(t.now)

    async with testing(app) as t:
        ended = await t.advance("3d")

    assert ended == {"completed": 3}
    assert [(at.minute, at.second) for at in seen] == [(0, 0)] * 3
    assert {at.hour for at in seen} <= {1, 2}
