"""The lane: answers only after the commit, and never an event loop that waits for a lock."""

import asyncio
from threading import get_ident

import apsw
import pytest
from ledger_fixtures import NOW

from outlast.core.errors import UnavailableError
from outlast.ledger.sqlite.connection import CHECKPOINT_PAGES, CHECKPOINT_PAGES_MIN
from outlast.ledger.sqlite.lane import HERE_US, REST_US, Lane
from outlast.ledger.sqlite.reserve import RESERVE_BYTES


class StillClock:
    """Stands still until a work moves it."""

    def __init__(self):
        self.elapsed = 0

    def now_us(self):
        return NOW

    def elapsed_us(self):
        return self.elapsed


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
async def lane(tmp_path, clock):
    opened = Lane(str(tmp_path / "l.db"), clock, writes=True, after_commit=lambda: None)
    await opened.run(lambda db, _: db.execute("CREATE TABLE t (n INTEGER, pad TEXT)").fetchall())
    yield opened
    await opened.close()


def put(n, pad=""):
    def work(db, _now):
        db.execute("INSERT INTO t VALUES (?, ?)", (n, pad))
        return get_ident()

    return work


def each(db, works, now):
    return [work(db, now) for work in works]


async def run(lane, work, *, short=False):
    return await (lane.run_alike(each, work) if short else lane.run(work))


async def turn():
    """Let the loop run everything that is ready."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


def numbers(path):
    return [n for (n,) in apsw.Connection(str(path)).execute("SELECT n FROM t ORDER BY n")]


async def test_a_short_work_is_committed_on_its_callers_thread(lane, tmp_path):
    await run(lane, put(0), short=True)  # by now it is known who calls

    assert await run(lane, put(1), short=True) == get_ident()
    assert await lane.run(put(2)) != get_ident()
    assert numbers(tmp_path / "l.db") == [0, 1, 2]


async def test_many_at_once_go_to_the_thread_and_share_a_commit(lane):
    ran = await asyncio.gather(*(run(lane, put(n), short=True) for n in range(5)))

    assert get_ident() not in ran


async def test_after_a_slow_commit_the_thread_has_them_for_a_while(lane, clock):
    def slow(_db, _now):
        clock.elapsed += HERE_US + 1

    await run(lane, put(0), short=True)
    await run(lane, slow, short=True)

    assert await run(lane, put(1), short=True) != get_ident()
    clock.elapsed += REST_US
    assert await run(lane, put(2), short=True) == get_ident()


async def test_a_lock_held_by_another_process_keeps_no_loop_waiting(lane, tmp_path):
    other = apsw.Connection(str(tmp_path / "l.db"))
    other.execute("BEGIN IMMEDIATE")
    submitted = asyncio.create_task(run(lane, put(1), short=True))
    for _ in range(20):
        await turn()  # a loop that waited for the lock would not come back here

    assert not submitted.done()
    other.execute("COMMIT")
    assert await submitted != get_ident()
    assert numbers(tmp_path / "l.db") == [1]


async def test_a_failing_work_harms_no_neighbour(lane, tmp_path):
    def fails(db, _now):
        db.execute("INSERT INTO t VALUES (99, '')")
        raise ValueError("no")

    works = [put(1), fails, put(2)]
    answers = await asyncio.gather(
        *(run(lane, work, short=True) for work in works), return_exceptions=True
    )

    assert isinstance(answers[1], UnavailableError)
    assert numbers(tmp_path / "l.db") == [1, 2]


@pytest.mark.parametrize("short", [True, False])
async def test_what_was_accepted_is_finished_before_closing(lane, tmp_path, short):
    accepted = [asyncio.create_task(run(lane, put(n), short=short)) for n in range(9)]
    await turn()

    await lane.close()

    await asyncio.gather(*accepted)
    assert numbers(tmp_path / "l.db") == list(range(9))


async def test_what_comes_after_closing_is_refused(lane):
    await lane.close()

    with pytest.raises(UnavailableError, match="closed"):
        await run(lane, put(1), short=True)


async def test_what_slips_in_while_closing_is_refused_and_not_forgotten(lane, monkeypatch):
    await lane.close()
    monkeypatch.setattr(lane, "_closed", False)  # as another thread still saw it

    for short in (True, False):
        with pytest.raises(UnavailableError, match="closed"):
            await run(lane, put(1), short=short)


@pytest.mark.parametrize("short", [True, False])
async def test_the_log_stays_short(lane, tmp_path, short):
    for n in range(CHECKPOINT_PAGES // 2):
        await run(lane, put(n, "x" * 16_000), short=short)  # four pages each and more

    log = (tmp_path / "l.db-wal").stat().st_size / 4096
    assert log < 2 * CHECKPOINT_PAGES


@pytest.mark.parametrize("short", [True, False])
async def test_while_the_disk_is_full_the_log_needs_no_more_than_the_reserve(
    lane, tmp_path, monkeypatch, short
):
    monkeypatch.setattr(lane, "_is_full", lambda: True)

    for n in range(CHECKPOINT_PAGES_MIN):
        await run(lane, put(n, "x" * 16_000), short=short)

    assert (tmp_path / "l.db-wal").stat().st_size < 1.1 * RESERVE_BYTES
