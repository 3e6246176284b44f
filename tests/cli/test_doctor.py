"""The doctor finds what is wrong, nothing else, and says of each what to do."""

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace

import apsw
import pytest

from outlast.core import transition
from outlast.core.job import NewJob, Want
from outlast.core.limits import DAY, HOUR, LEASE_US, MINUTE
from outlast.core.retry import DEFAULT_BACKOFF
from outlast.core.schedule import Schedule, to_doc
from outlast.system import CLOCK, new_id
from tests.cli.rig import using


@pytest.fixture
def examined(run, url):
    """Run the doctor; give the hint of each thing that it finds wrong."""

    def examine(code, *, ledger=url, arguments=()):
        result = run("doctor", "--ledger", ledger, "--json", *arguments)
        assert result.exit_code == code, result.output
        report = json.loads(result.stdout)
        assert report["ok"] is (code == 0)
        wrong = [check for check in report["checks"] if not check["ok"]]
        assert all(check["hint"] for check in wrong)
        return {check["name"]: f"{check['detail']}: {check['hint']}" for check in wrong}

    return examine


@pytest.fixture
def worker(url):
    """Let a living worker of the default queue be registered."""

    async def register(ledger):
        await ledger.put("worker", "alive", '{"queues": ["default"]}', ttl_us=LEASE_US)

    using(url, register)


def insert(url, *, now, **fields):
    job = NewJob(id=new_id(), task="report", **fields)
    using(url, lambda ledger: ledger.insert([job], now=now))


def test_a_healthy_ledger_is_well(examined, put, worker):
    put("completed")
    put()

    assert examined(0) == {}


def test_the_doctor_changes_nothing(run, url, put):
    put("failed")
    before = using(url, lambda ledger: ledger.history(None))

    run("doctor", "--ledger", url)

    assert using(url, lambda ledger: ledger.history(None)) == before


def test_what_to_do_stands_below_what_is_wrong(run, url, put):
    put("failed")

    lines = run("doctor", "--ledger", url).stdout.splitlines()

    (at,) = [n for n, line in enumerate(lines) if "wrong" in line]
    assert lines[at].startswith("dead letters")
    assert lines[at + 1].strip().startswith("→ see why with outlast dead")


def test_dead_letters_are_found(examined, put):
    put("failed")

    assert "outlast dead redrive" in examined(1)["dead letters"]


def test_the_errors_by_which_dead_letters_grow_are_named_with_their_tasks(examined, put):
    put("failed", task="rare")
    put("failed")
    newest = put("failed")

    told = examined(1)["dead letters"]

    assert told.startswith(
        f"3 jobs, 3 in the last hour: 3 × ValueError in rare, report, as outlast show {newest}: "
    )


def test_old_dead_letters_do_not_count_as_growth(examined, url, worker):
    async def fail(ledger):
        at = CLOCK.now_us() - 2 * HOUR
        await ledger.insert([NewJob(id=new_id(), task="report")], now=at)
        (lease,) = await ledger.claim(Want("alive", ("default",), 1), now=at)
        error = {"type": "ValueError", "message": "row 17", "retryable": False}
        change = transition.failed(lease, error, backoff=DEFAULT_BACKOFF, dice=0.5)
        assert (await ledger.commit([change], now=at))[0].accepted

    using(url, fail)

    assert examined(1)["dead letters"].startswith("1 jobs: ")


def test_jobs_whose_worker_is_gone_are_found(examined, url, put):
    stuck = put("processing")
    using(url, lambda ledger: ledger.extend(["w"], 0))

    assert stuck in examined(1)["stuck jobs"]


def test_a_queue_without_a_worker_is_found_by_name(examined, put, worker):
    put()
    put(queue="slow")

    assert "outlast worker APP --queue slow" in examined(1).pop("queue slow")


def test_a_paused_queue_is_no_fault(examined, url, put):
    put(queue="slow")
    using(url, lambda ledger: ledger.put("queue", "slow", '{"paused": true}'))

    assert examined(0) == {}


def test_a_job_that_waits_for_too_long_is_found(examined, url, worker):
    insert(url, now=CLOCK.now_us() - HOUR)

    assert "3600 s" in examined(1)["queue default"]
    assert examined(0, arguments=("--max-wait", "2h")) == {}


def test_jobs_that_nobody_wakes_are_found(examined, url):
    insert(url, now=CLOCK.now_us() - HOUR, delay_us=MINUTE)

    assert "start outlast worker" in examined(1)["schedule"]


def test_schedules_that_do_not_tick_are_found(examined, url, worker):
    now = CLOCK.now_us()
    fine = Schedule(name="fine", spec={"every": "1h"}, job={}, next_at=now + HOUR)
    records = {
        "fine": to_doc(fine),
        "resting": to_doc(replace(fine, next_at=now - HOUR, paused=True)),
        "broken": "{",
        "full": to_doc(replace(fine, error={"message": "queue q is at its limit"})),
        "gone": to_doc(replace(fine, source="code", next_at=now - HOUR)),
    }

    def keep(*names):
        async def work(ledger):
            for name in names:
                await ledger.put("schedule", name, records[name])

        using(url, work)

    keep("fine", "resting")
    assert examined(0) == {}
    keep(*records)

    told = examined(1)["schedules"]
    for part in ("can't be read", "full: queue q is at its limit", "gone: no living worker"):
        assert part in told


def test_a_clock_that_is_behind_the_ledger_is_found(examined, url, worker):
    insert(url, now=CLOCK.now_us() + HOUR)

    assert examined(1)["clock"].startswith("3600 s behind the ledger: set it by NTP")


@pytest.mark.parametrize("content", [b"", b"this is no SQLite file" * 100])
def test_a_ledger_that_is_none_is_found(examined, tmp_path, content):
    (tmp_path / "odd.db").write_bytes(content)

    assert list(examined(1, ledger=f"sqlite:///{tmp_path}/odd.db")) == ["ledger"]


def test_a_ledger_of_an_older_release_is_found(examined, tmp_path, url):
    with apsw.Connection(f"{tmp_path}/outlast.db") as db:
        db.execute("PRAGMA user_version = 1")

    assert "outlast migrate" in examined(1)["ledger"]


def test_a_ledger_that_is_not_there_is_not_made(examined, tmp_path):
    assert "outlast migrate" in examined(1, ledger=f"sqlite:///{tmp_path}/none.db")["ledger"]
    assert not (tmp_path / "none.db").exists()


def test_an_old_sqlite_is_found(examined, monkeypatch):
    monkeypatch.setattr(apsw, "SQLITE_VERSION_NUMBER", 3_045_001)

    assert "pip install --upgrade apsw" in examined(1)["ledger"]


def test_a_disk_that_is_nearly_full_is_found(examined, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**6, 10**6)  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    assert list(examined(1)) == ["disk of ledger", "disk of blobs"]


def test_a_folder_that_can_not_be_written_to_is_found(examined, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTLAST_BLOBS", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path / "files")

    assert list(examined(1)) == ["folder of blobs"]


def test_a_log_that_does_not_shrink_is_found(examined, url, tmp_path):
    log = tmp_path / "outlast.db-wal"
    log.touch()
    os.truncate(log, 1024**3)  # sparse: it takes no room

    assert "1024 MiB" in examined(1)["log"]


def test_history_that_nobody_forgets_is_found(examined, url, worker):
    async def end(ledger):
        long_ago = CLOCK.now_us() - 32 * DAY
        await ledger.insert([NewJob(id=new_id(), task="t")], now=long_ago)
        (lease,) = await ledger.claim(Want("alive", ("default",), 1), now=long_ago)
        await ledger.commit([transition.completed(lease, "1")], now=long_ago)

    using(url, end)

    assert examined(1)["history"].endswith("nobody forgets: start outlast worker APP")


def test_files_that_nobody_sweeps_are_found(examined, tmp_path, worker, put):
    put("completed")
    for _ in range(101):
        owner, blob = new_id(), new_id()
        folder = tmp_path / "files" / owner[-2:] / owner
        folder.mkdir(parents=True)
        (folder / blob).write_bytes(b"x")
        os.utime(folder / blob, (0, 0))

    told = examined(1, arguments=("--blobs", str(tmp_path / "files")))

    assert "101 of them of no use" in told["files"]
