"""One SQLite file in many hands: writers that collide, readers that linger, forks, strays."""

import asyncio
import itertools
import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress

import apsw
import pytest

from outlast.api import create
from outlast.cli import checks
from outlast.core.errors import CapabilityError, UnavailableError
from outlast.core.job import Filter, NewJob, Page
from outlast.ledger.sqlite import SqliteLedger, connection, lane
from outlast.system import new_id
from tests.reliability import crash

WRITERS, EACH = 16, 8
LOG_LIMIT = 64 * 1024**2  # to which the log is cut when nothing keeps it
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.reliability.test_shared_file"])


def forget_some():
    """Plant a bug: every fifth commit is undone, and acknowledged all the same."""
    real, count = lane.commit, itertools.count(1)

    def commit(db):
        (lane.roll_back if next(count) % 5 == 0 else real)(db)

    lane.commit = commit


def submit_all(path, number, patience_s, heard, planted=None):
    """Submit jobs with keys from a process of its own; what is refused is asked again."""
    connection.BUSY_DEADLINE_S = patience_s
    if planted is not None:
        planted()

    async def work():
        refused, acknowledged = 0, []
        ledger = await opened(path)
        for n in range(EACH):
            job = NewJob(id=new_id(), task="t", key=f"{number}-{n}", fingerprint="f")
            while True:
                try:
                    (made,) = await ledger.insert([job])
                    break
                except UnavailableError:
                    refused += 1
            acknowledged.append(made.id)
        await ledger.close()
        return refused, acknowledged

    heard.put(asyncio.run(work()))


async def opened(path):
    while True:
        try:
            ledger = SqliteLedger(path)
        except UnavailableError:
            continue
        try:
            await ledger.check()
            return ledger
        except UnavailableError:
            await ledger.close()


async def storm(path, patience_s, planted=None, writers=WRITERS):
    """Let processes submit at once; return the refusals, what was acknowledged, what is there."""
    heard = FORKS.Queue()
    ledger = SqliteLedger(path)
    await ledger.migrate()
    processes = [
        FORKS.Process(target=submit_all, args=(path, n, patience_s, heard, planted))
        for n in range(writers)
    ]
    for process in processes:
        process.start()
    told = [await asyncio.to_thread(heard.get, timeout=60) for _ in processes]
    for process in processes:
        process.join()
    acknowledged = {id_ for _, ids in told for id_ in ids}
    there = {job.id for job in await ledger.find(Filter(), Page(limit=500))}
    await ledger.close()
    return sum(refused for refused, _ in told), acknowledged, there


@pytest.mark.fault("F36")
@pytest.mark.parametrize("patience_s", [0, connection.BUSY_DEADLINE_S])
async def test_sixteen_writers_lose_no_write_with_patience_and_without(tmp_path, patience_s):
    path = str(tmp_path / "ledger.db")

    refused, acknowledged, there = await storm(path, patience_s)

    assert acknowledged == there
    assert len(there) == WRITERS * EACH
    assert refused == 0 or not patience_s
    assert crash.damage(path) == []


async def test_that_law_finds_writes_that_are_acknowledged_and_undone(tmp_path):
    _, acknowledged, there = await storm(
        str(tmp_path / "ledger.db"), connection.BUSY_DEADLINE_S, forget_some, writers=2
    )

    assert acknowledged - there


@pytest.mark.fault("F36")
async def test_a_ledger_that_stays_locked_is_a_503_that_says_when_to_come_again(
    tmp_path, monkeypatch
):
    app = crash.app_of(tmp_path)
    asgi = create(app)
    async with asgi.router.lifespan_context(asgi):
        monkeypatch.setattr(connection, "BUSY_DEADLINE_S", 0.05)
        holder = apsw.Connection(str(tmp_path / "ledger.db"))
        holder.execute("BEGIN IMMEDIATE")
        status, headers, problem = await crash.exchange(asgi, crash.body_of(tmp_path / "w"))
        holder.execute("ROLLBACK")
        holder.close()

        assert (status, problem["code"], headers[b"retry-after"]) == (503, "unavailable", b"1")
        assert "holds a transaction open" in problem["detail"]
        assert (await crash.submit(asgi, crash.body_of(tmp_path / "w")))[0] == 202
        assert (await app.ledger.count(Filter(), ""))[()] == 1


async def log_with_a_lingering_reader(path):
    """Write much while a reader keeps its view; return what the doctor says, and the log after."""
    log = path.with_name("ledger.db-wal")
    ledger = SqliteLedger(str(path))
    await ledger.migrate()
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN; SELECT count(*) FROM job").fetchall()
    while log.stat().st_size <= LOG_LIMIT:
        await ledger.insert([big() for _ in range(100)])
    (told,) = [c for c in checks._store(await ledger.check()) if c.name == "log"]
    reader.close()
    for _ in range(4):  # the first copies the log into the file, a later one begins it anew
        await ledger.insert([big() for _ in range(100)])
    size = log.stat().st_size
    await ledger.close()
    return told, size


@pytest.mark.fault("F37")
async def test_a_log_that_a_reader_keeps_is_told_of_and_shrinks_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_LOG_MAX", LOG_LIMIT)

    told, size = await log_with_a_lingering_reader(tmp_path / "ledger.db")

    assert not told.ok
    assert "keeps an old view" in told.hint
    assert size <= LOG_LIMIT


async def test_that_law_finds_a_log_that_is_never_cut(tmp_path, monkeypatch):
    def unbounded(path, patience=None):
        db = connection.connect(path, patience)
        db.execute("PRAGMA journal_size_limit = -1")
        return db

    monkeypatch.setattr(lane, "connect", unbounded)

    _, size = await log_with_a_lingering_reader(tmp_path / "ledger.db")

    assert size > LOG_LIMIT


def big():
    return NewJob(id=new_id(), task="t", args=f'{{"a": "{"x" * 50_000}"}}')


def in_a_fork(ledger):
    """Use it in a process that a library forked: it must neither hang nor write."""
    child = os.fork()
    if child == 0:
        try:
            ledger.insert([NewJob(id=new_id(), task="t")]).send(None)
        except UnavailableError as error:
            os._exit(0 if "after the fork" in str(error) else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.fault("F39")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_ledger_is_refused_in_a_fork_and_unharmed_by_it(tmp_path):
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    await ledger.migrate()
    code = in_a_fork(ledger)

    (made,) = await ledger.insert([NewJob(id=new_id(), task="t")])
    assert code == 0
    assert None not in await ledger.get([made.id])
    await ledger.close()
    assert crash.damage(tmp_path / "ledger.db") == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_that_law_finds_a_ledger_that_does_not_notice_the_fork(tmp_path, monkeypatch):
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    await ledger.migrate()
    monkeypatch.setattr(lane.os, "getpid", lambda: ledger._writer._process)

    code = in_a_fork(ledger)

    await ledger.close()
    assert code == 2  # it waits for a thread that is not there


@pytest.mark.fault("F39")
async def test_a_second_descriptor_that_drops_the_locks_costs_no_acknowledged_job(tmp_path):
    """Closing any descriptor of the file drops the process's locks on it (POSIX)."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(str(path))
    await ledger.migrate()
    path.read_bytes()  # a copy by hand, say
    comes_and_goes(path)

    (made,) = await ledger.insert([NewJob(id=new_id(), task="t")])

    other = SqliteLedger(str(path))
    assert None not in await other.get([made.id])
    await other.close()
    await ledger.close()
    assert crash.damage(path) == []


def comes_and_goes(path):
    """Open and close the ledger in another process, which may take itself for the last one."""
    code = (
        "import asyncio, sys\nfrom outlast.ledger.sqlite import SqliteLedger\n"
        "async def main():\n ledger = SqliteLedger(sys.argv[1])\n await ledger.check()\n"
        " await ledger.close()\nasyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


@pytest.mark.fault("F39")
def test_a_network_disk_is_told_of(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")

    assert checks.kind_of_disk(tmp_path / "deeper", mounts) == "nfs4"
    assert "nfs4" in checks._NETWORK


@pytest.mark.fault("F40")
def test_an_sqlite_with_the_wal_reset_bug_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(apsw, "SQLITE_VERSION_NUMBER", 3_051_002)
    with pytest.raises(CapabilityError, match=r"expected 3\.51\.3"):
        SqliteLedger(str(tmp_path / "ledger.db"))


def checkpoint_and_write(path, number):
    """Write, checkpoint and begin the log anew, as fast as can be."""
    db = connection.connect(path)
    for n in range(120):
        db.execute("INSERT INTO doc VALUES (?, ?, 1, ?, NULL)", (f"w{number}", str(n), "x" * 3_000))
        mode = (apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_RESTART)[n % 2]
        with suppress(apsw.BusyError):  # the other one is at it
            db.wal_checkpoint(mode=mode)
    db.close()


@pytest.mark.fault("F40")
async def test_two_processes_that_write_and_checkpoint_at_once_leave_a_whole_file(tmp_path):
    path = str(tmp_path / "ledger.db")
    ledger = SqliteLedger(path)
    await ledger.migrate()
    await ledger.close()
    both = [FORKS.Process(target=checkpoint_and_write, args=(path, n)) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)

    assert [process.exitcode for process in both] == [0, 0]
    ledger = SqliteLedger(path)
    assert [len(await ledger.docs(f"w{n}")) for n in range(2)] == [120, 120]
    await ledger.close()
    assert crash.damage(path) == []
