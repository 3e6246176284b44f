"""A crash at any act on the disk of a job's life loses and doubles nothing."""

import pytest

from outlast.ledger.sqlite import lane
from outlast.testing.disk import everything, nothing_unsynced
from tests.ledger_fixtures import plant
from tests.reliability.taped import KEEPS, Taped


def first_wrong(taped, keep, every=1):
    """Return the first point after which something is wrong, with what that is."""
    for point in taped.points[::every]:
        if found := taped.wrong_at(point, keep):
            return point, found
    return None


@pytest.fixture
def taped(tmp_path):
    return lambda: Taped(tmp_path)


@pytest.mark.fault("F38")
@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_a_crash_at_any_act_of_a_job_s_life_loses_and_doubles_nothing(taped, keep):
    """Every eighth point here; `make sweep` takes them all."""
    life = taped()

    assert len(life.points) > 150
    assert first_wrong(life, keep, every=8) is None


@pytest.mark.parametrize("mode", ["OFF", "NORMAL"])
def test_that_law_finds_a_lesser_durability(taped, monkeypatch, mode):
    def hasty(path, patience=None):
        db = real(path, patience)
        db.execute(f"PRAGMA synchronous = {mode}")
        return db

    real = lane.connect
    monkeypatch.setattr(lane, "connect", hasty)
    life = taped()
    monkeypatch.undo()

    _, found = first_wrong(life, nothing_unsynced, every=10)
    assert "acknowledged and lost" in found[0]


def test_that_law_finds_changes_that_are_committed_apart(taped, monkeypatch):
    for verb in ("begin", "commit"):
        monkeypatch.setattr(lane, verb, lambda *_, **__: None)
    life = taped()
    monkeypatch.undo()

    assert first_wrong(life, everything) is not None


def test_that_law_finds_keys_that_are_not_kept(taped, monkeypatch):
    forgetful = "SELECT :tenant, :key, :fingerprint, :job_id, :submitted_at, :expires_at"
    plant(monkeypatch, "key_put", lambda _: forgetful)
    life = taped()
    monkeypatch.undo()

    _, found = first_wrong(life, everything, every=10)
    assert "one key, 2 jobs" in " ".join(found)


def test_that_law_finds_steps_that_are_done_again(taped, monkeypatch):
    from outlast.sdk.context import Job

    async def forgetful(job):
        return {}

    life = taped()
    monkeypatch.setattr(Job, "_stored", forgetful)

    _, found = first_wrong(life, everything, every=5)
    assert "should be recorded once" in " ".join(found)
