"""Steps of a schema: what adds is done at once, what takes away waits until it is asked for."""

import pytest

from outlast.core.errors import UnavailableError
from outlast.ledger import open_ledger
from outlast.ledger.postgres import schema
from outlast.ledger.sqlite import store
from outlast.ledger.steps import Step, following, needed, newest
from tests.ledger_fixtures import job

ADDS = "ALTER TABLE {}job ADD COLUMN later integer"
REMOVES = "ALTER TABLE {}job DROP COLUMN later"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """A place for a ledger, the module that migrates there, and how its tables are called."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db", store, ""
    return request.getfixturevalue("database"), schema, "outlast."


@pytest.fixture
def release(place, monkeypatch):
    """Return what lets the next release be one with more steps than this."""
    _, module, room = place
    ours = module.migrations()
    first = newest(ours) + 1

    def released(*kinds):
        more = [
            Step(first + n, (ADDS, REMOVES)[removes].format(room), removes)
            for n, removes in enumerate(kinds)
        ]
        monkeypatch.setattr(module, "migrations", lambda: [*ours, *more])
        return first + len(more) - 1

    return released


async def test_what_takes_away_waits_until_it_is_asked_for(place, release):
    ledger, other = open_ledger(place[0]), open_ledger(place[0])
    old = await ledger.migrate()
    last = release(False, True)

    versions = [await ledger.migrate(), await other.migrate()]
    await ledger.insert([job()])  # which this release can, before and after
    facts = await ledger.check()
    finished = await other.migrate(finish=True)
    await ledger.insert([job()])

    assert (old, versions) == (last - 2, [last - 1, last - 1])
    assert (facts["schema"], facts["schema_newest"]) == (str(last - 1), str(last))
    assert (finished, (await ledger.check())["schema"]) == (last, str(last))
    await ledger.close()
    await other.close()


async def test_a_new_ledger_has_all_steps_at_once(place, release):
    last = release(False, True)
    ledger = open_ledger(place[0])

    assert await ledger.migrate() == last
    await ledger.close()


async def test_a_release_that_needs_more_says_that_the_one_before_was_never_finished(
    place, release
):
    ledger = open_ledger(place[0])
    await ledger.migrate()
    release(False, True)
    await ledger.migrate()
    last = release(False, True, False)

    with pytest.raises(UnavailableError) as told:
        await ledger.migrate()
    with pytest.raises(UnavailableError):
        await ledger.check()

    assert "outlast migrate --finish" in str(told.value.hint)
    assert await ledger.migrate(finish=True) == last
    await ledger.close()


def test_the_files_of_this_release_say_what_they_need():
    for module in (store, schema):
        steps = module.migrations()
        assert [step.number for step in steps] == list(range(1, newest(steps) + 1))
        assert following(steps, needed(steps), "here") is None
