"""A full disk: what runs ends, nothing new is let in, and all goes on when there is room."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest

from outlast.blobs import open_blobs
from outlast.core import transition
from outlast.core.errors import StorageFullError
from outlast.core.job import Filter, NewJob, Want
from outlast.core.limits import LEASE_US
from outlast.core.retry import DEFAULT_BACKOFF, course
from outlast.ledger.sqlite import SqliteLedger
from outlast.ledger.sqlite.reserve import RESERVE_BYTES, Reserve
from outlast.system import new_id
from outlast.testing.disk import Disk, full
from tests.reliability import crash, crash_jobs
from tests.worker.rig import until

SUBMITTED = 40


@contextmanager
def small_disk(folder, megabytes=16):
    """Mount a disk of memory with so little room."""
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "outlast-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Take all the room there is, as another program's log would; return the file."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    assert os.statvfs(folder).f_bavail == 0
    return ballast


async def with_leases(path):
    """Open a ledger with jobs in a worker's hands."""
    ledger = SqliteLedger(str(path))
    await ledger.migrate()
    await ledger.insert([NewJob(id=new_id(), task="t") for _ in range(SUBMITTED)])
    await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
    return ledger, await ledger.claim(Want("w", ("default",), SUBMITTED))


async def submit_without_end(ledger):
    args = f'{{"a": "{"x" * 50_000}"}}'
    while True:
        await ledger.insert([NewJob(id=new_id(), task="t", args=args)])


async def endures(ledger, leases, free):
    """Finish what runs on a full disk, take nothing new, and go on once there is room."""
    new = NewJob(id=new_id(), task="t", key="k")
    with pytest.raises(StorageFullError, match="free some space"):
        await submit_without_end(ledger)
    done = 0
    for lease in leases:
        (verdict,) = await ledger.commit([transition.completed(lease, "1")])
        done += verdict.accepted
    assert await ledger.extend(["w"], LEASE_US) == []
    with pytest.raises(StorageFullError):
        await ledger.insert([new])
    assert (await ledger.get([new.id])) == [None]
    free()
    (made,) = await ledger.insert([new])
    assert (done, made.outcome) == (SUBMITTED, "created")
    completed = Filter(status="completed")
    assert await ledger.count(completed, "") == {(): SUBMITTED}


@pytest.mark.fault("F42")
@pytest.mark.root
async def test_on_a_full_disk_running_jobs_end_and_new_ones_wait_for_room(tmp_path):
    with small_disk(tmp_path / "small") as folder:
        ledger, leases = await with_leases(folder / "ledger.db")
        ballast = fill(folder)

        await endures(ledger, leases, ballast.unlink)
        await ledger.close()
        assert crash.damage(folder / "ledger.db") == []


@pytest.mark.root
async def test_that_law_finds_a_ledger_without_a_reserve(tmp_path, monkeypatch):
    with small_disk(tmp_path / "small") as folder:
        monkeypatch.setattr(Reserve, "guard", lambda _: None)
        ledger, leases = await with_leases(folder / "ledger.db")
        ballast = fill(folder)

        with pytest.raises(StorageFullError):
            await endures(ledger, leases, ballast.unlink)
        ballast.unlink()
        await ledger.close()


class Room:
    """How much an imagined disk still takes."""

    def __init__(self, path):
        self.path = path
        self.left = None

    def take(self, act):
        """Refuse what grows a file when the room is used up; a spent reserve gives some back."""
        if self.left is None or act.kind != "write":
            return
        self.left -= len(act.data)
        if self.left < 0 and self.path.stat().st_size:
            raise full()


@pytest.mark.fault("F42")
async def test_without_root_too_a_completion_spends_the_reserve_and_a_submit_does_not(tmp_path):
    room = Room(tmp_path / "ledger.db-reserve")
    with Disk(before=room.take):
        ledger, leases = await with_leases(tmp_path / "ledger.db")
        room.left = 0

        with pytest.raises(StorageFullError):
            await ledger.insert([NewJob(id=new_id(), task="t")])
        assert room.path.exists()
        (verdict,) = await ledger.commit([transition.completed(leases[0], "1")])
        assert verdict.accepted
        assert room.path.stat().st_size == 0
        room.left = None
        await ledger.insert([NewJob(id=new_id(), task="t")])
        assert room.path.stat().st_size == RESERVE_BYTES
        await ledger.close()


@pytest.mark.fault("F42")
@pytest.mark.root
async def test_a_file_that_does_not_fit_leaves_nothing_and_costs_no_attempt(tmp_path):
    with small_disk(tmp_path / "small", megabytes=1) as folder:
        blobs = open_blobs(str(folder))

        with pytest.raises(StorageFullError) as raised:
            await blobs.put(new_id(), bytes(2 << 20))

        assert [path for path in folder.rglob("*") if path.is_file()] == []
        small = await blobs.put(new_id(), b"small")
        assert await blobs.load(small) == b"small"
    assert not course(raised.value, {}, DEFAULT_BACKOFF, 0).counts


@pytest.mark.fault("F42")
async def test_a_log_that_can_not_be_written_stops_no_job(tmp_path):
    """The worker's own output goes to a device that is always full."""
    with open("/dev/full", "w") as nowhere:  # noqa: ASYNC230, PTH123 - a device
        worker = subprocess.Popen(  # noqa: ASYNC220 - a worker as a user starts it
            [sys.executable, "-m", "outlast", "worker", crash_jobs.__file__, "--json",
             "--processes", "1", "--ledger", f"sqlite:///{tmp_path}/ledger.db",
             "--blobs", f"{tmp_path}/blobs"],
            stdout=subprocess.PIPE, stderr=nowhere, text=True,
        )  # fmt: skip
    try:
        assert "ready" in worker.stdout.readline()
        async with crash.app_of(tmp_path) as app:
            job = NewJob(id=new_id(), task="chatty")
            await app.ledger.insert([job])
            await until(app.ledger, partial(crash.ended, app.ledger, job.id))
            (record,) = await app.ledger.get([job.id])
        assert record.status == "completed"
    finally:
        worker.terminate()
        worker.wait(20)
        worker.stdout.close()
