"""A lock is held from the first moment on, or the death of its process would be missed."""

import fcntl

import pytest

from outlast.ledger.memory import MemoryLedger
from outlast.upkeep import deathwatch
from outlast.upkeep.deathwatch import DeathWatch


async def test_a_watcher_that_looks_too_early_takes_nobody_s_lock_away(tmp_path, monkeypatch):
    ledger = MemoryLedger()
    own = DeathWatch(tmp_path, "own", ledger)
    real, looked = fcntl.flock, []

    def flock(file, how):
        if not looked:
            # Between the opening of the file and its lock, another supervisor looks at it.
            looked.append(True)
            path = tmp_path / "own.lock"
            with path.open("r+") as theirs:
                real(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        return real(file, how)

    monkeypatch.setattr(deathwatch.fcntl, "flock", flock)
    own.hold()
    own.list_holders(["w1"])
    monkeypatch.setattr(deathwatch.fcntl, "flock", real)

    assert (tmp_path / "own.lock").read_text() == "w1"
    with (tmp_path / "own.lock").open() as file, pytest.raises(BlockingIOError):
        real(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert await DeathWatch(tmp_path, "other", ledger).look() == []
    own.let_go()


async def test_the_freed_lock_of_a_dead_process_gives_its_workers_up(tmp_path):
    ledger = MemoryLedger()
    await ledger.put("worker", "w1", "{}", ttl_us=30_000_000)
    (tmp_path / "dead.lock").write_text("w1")

    assert await DeathWatch(tmp_path, "other", ledger).look() == ["w1"]
    assert await ledger.extend(["w1"], 1) == ["w1"]
    assert not (tmp_path / "dead.lock").exists()
