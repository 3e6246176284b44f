"""Whoever is killed, whenever: the job ends once, and what was done is not done again."""

import json
import os
import signal
from pathlib import Path

import jobs
import pytest

from outlast.core.fold import fold, of_row


async def at(handle, kind, count=1):
    """Wait until the job has had so many events of a kind; return its worker's process ID."""
    async for event in handle.events():
        if event.type == kind:
            count -= 1
        if count == 0:
            break
    record = await handle.record()
    (doc,) = await handle._app.ledger.docs("worker", record.holder)
    return json.loads(doc.doc)["pid"]


def gone(pid):
    """Whether a process runs no more; a zombie that nobody has reaped yet is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stop_outside_a_transaction(pid, file):
    """Stop a process where it holds no write lock: SQLite would make everybody wait for it."""
    import apsw

    db = apsw.Connection(str(file))
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            db.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            os.kill(pid, signal.SIGCONT)
            continue
        db.execute("ROLLBACK")
        db.close()
        return


async def settled(handle, folder):
    (Path(folder) / "go").touch()
    assert await handle.result(timeout=30) == [0, 1, 2, 3]
    events, record = await handle._app.ledger.history(handle.id), await handle.record()
    assert fold(events) == of_row(record)
    assert [event.type for event in events].count("completed") == 1
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


async def test_a_killed_worker_s_job_goes_on_elsewhere_from_its_last_step(app, fleet, tmp_path):
    fleet(processes=2)
    handle = await jobs.stepped.submit(str(tmp_path), 4)
    os.kill(await at(handle, "step", 4), signal.SIGKILL)

    events = await settled(handle, tmp_path)

    marks = (tmp_path / "marks").read_text().splitlines()
    assert len(marks) == 4  # no step ran twice
    assert "heartbeat-lost" in [event.type for event in events]
    assert (await handle.record()).attempt == 2


@pytest.mark.fault("F1", "F2")
async def test_a_job_survives_a_kill_at_each_step_of_its_life(app, fleet, tmp_path):
    fleet(processes=2)
    for count in (1, 2, 3, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        handle = await jobs.stepped.submit(str(folder), 4)
        os.kill(await at(handle, "step", count), signal.SIGKILL)
        await settled(handle, folder)
        marks = [line.split()[0] for line in (folder / "marks").read_text().splitlines()]
        # The step in hand may have run before its record was written; no other may run again.
        assert sorted(set(marks)) == ["0", "1", "2", "3"]
        assert len(marks) <= 5
        assert marks[:count] == ["0", "1", "2", "3"][:count]


@pytest.mark.fault("F7")
async def test_a_killed_supervisor_s_job_goes_on_under_another(app, fleet, tmp_path):
    first = fleet(processes=1)
    handle = await jobs.stepped.submit(str(tmp_path), 4)
    worker = await at(handle, "step", 4)
    fleet(processes=1)
    first.kill()
    first.wait()

    await settled(handle, tmp_path)

    assert len((tmp_path / "marks").read_text().splitlines()) == 4
    assert gone(worker)


@pytest.mark.fault("F3")
async def test_a_worker_that_wakes_after_its_lease_is_refused(app, fleet, tmp_path):
    fleet(processes=1)
    handle = await jobs.stepped.submit(str(tmp_path), 4)
    sleeper = await at(handle, "step", 4)
    stop_outside_a_transaction(sleeper, tmp_path / "ledger.db")
    holder = (await handle.record()).holder
    assert await app.ledger.extend([holder], 0) == []
    fleet(processes=1)
    async for event in handle.events():
        if event.type == "started" and json.loads(event.data)["token"] == 2:
            break
    (tmp_path / "go").touch()
    os.kill(sleeper, signal.SIGCONT)

    events = await settled(handle, tmp_path)

    assert await app.ledger.extend([holder], 1) == [holder]
    assert [e.type for e in events].count("started") == 2


async def test_a_job_that_kills_its_own_process_harms_nobody(app, fleet):
    fleet(processes=1)
    bad = await jobs.suicidal.submit(int(signal.SIGKILL))
    pid = await (await jobs.apart.submit()).result(timeout=30)

    async for event in bad.events():
        last = event
    assert last.type == "failed"
    assert "signal SIGKILL" in last.data
    assert gone(pid)


@pytest.mark.fault("F38")
async def test_acknowledged_jobs_survive_a_power_cut(app, tmp_path):
    """Copy the file as the disk would have it at any instant: what was acknowledged is in it."""
    import shutil

    from outlast.ledger import open_ledger

    acked = []
    for n in range(60):
        acked.append((await jobs.add.submit(n, n)).id)
        if n % 20 != 19:
            continue
        copy = tmp_path / f"copy-{n}"
        copy.mkdir()
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(tmp_path / name, copy / name)
        ledger = open_ledger(f"sqlite:///{copy}/ledger.db")
        assert (await ledger.check())["store"] == "sqlite"
        assert None not in await ledger.get(acked)
        await ledger.close()


@pytest.mark.fault("F8")
async def test_what_a_killed_worker_started_dies_with_it(app, fleet, tmp_path):
    fleet(processes=2)
    handle = await jobs.spawning.submit(str(tmp_path))
    os.kill(await at(handle, "step"), signal.SIGKILL)
    async for event in handle.events():
        if event.type == "started" and json.loads(event.data)["token"] == 2:
            break
    orphan = int((tmp_path / "spawned-1").read_text())
    (tmp_path / "go").touch()
    await handle.result(timeout=30)

    assert gone(orphan)
