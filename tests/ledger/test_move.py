"""A ledger that moves while it is used: everything arrives, and no job is anywhere twice."""

import asyncio
import contextlib
import re
import signal
import subprocess
import sys

import pytest
from ledger_fixtures import job
from moving import HOUR, contents, filled, moved

from outlast.core import transition
from outlast.core.errors import ConflictError, CorruptError, MovedError, UnavailableError
from outlast.core.job import Filter, Page, Want
from outlast.core.status import Status
from outlast.ledger import open_ledger, shown
from outlast.ledger.move import COPYING, FROZEN, Mark, abort, open_source
from outlast.ledger.sqlite import transfer
from outlast.ledger.sqlite.statements import fragments
from outlast.system import CLOCK, new_id

POINTS_MAX = 200
# Of moves to and from a server, which take longer, a part is killed; all were, once.
EVERY = {"sqlite postgres": 5, "postgres sqlite": 5, "postgres postgres": 7}
FAR = 4_000_000_000_000_000


PAIRS = ("sqlite sqlite", "sqlite postgres", "postgres sqlite", "postgres postgres")


class Places:
    """Empty places for ledgers, which are gone after the test."""

    def __init__(self, folder, request):
        self._folder, self._request, self._made = folder, request, []

    def new(self, store):
        name = f"place_{new_id().replace('-', '')}"
        if store == "sqlite":
            return f"sqlite:///{self._folder}/{name}.db"
        self._made.append(name)
        return self._request.getfixturevalue("postgres").create(name)

    def clean(self):
        while self._made:
            self._request.getfixturevalue("postgres").drop(self._made.pop())


@pytest.fixture
def empty(tmp_path, request):
    found = Places(tmp_path, request)
    yield found
    found.clean()


@pytest.fixture(params=PAIRS)
def places(empty, request):
    """Where a ledger is, and where it goes to."""
    return tuple(empty.new(store) for store in request.param.split())


@pytest.fixture
async def source(places):
    """A ledger with something of everything, which stays open in this process."""
    ledger = await filled(places[0])
    yield ledger
    await ledger.close()


async def opened(url):
    ledger = open_ledger(url)
    await ledger.migrate()
    return ledger


class Meanwhile:
    """Passes calls on, and does something before the first one of a name."""

    def __init__(self, real, acts):
        self._real, self._acts = real, acts

    def __getattr__(self, name):
        found = getattr(self._real, name)
        if not callable(found):
            return found

        async def call(*args):
            act = self._acts.pop(name, None)
            if act is not None:
                await act()
            return await found(*args)

        return call


async def live_on(ledger):
    """Do to a ledger whatever may be done to jobs that have been copied."""
    ended = await ledger.find(Filter(status=Status.FAILED), Page())
    done = await ledger.find(Filter(status=Status.COMPLETED), Page(limit=3))
    assert ended
    assert done
    changes = [transition.redriven(one.id, one.status) for one in ended]
    assert all(verdict.accepted for verdict in await ledger.commit(changes))
    assert (await ledger.prune(await ledger.now() + HOUR, 1, ids=[done[0].id])).jobs == 1
    await ledger.insert([job(key="late", fingerprint="f")])
    leases = await ledger.claim(Want("w", ("default", "other"), 3))
    await ledger.commit([transition.completed(lease, '"late"') for lease in leases[:1]])


async def test_everything_arrives_as_it_was(source, places):
    before = await contents(source)

    await moved(*places)

    ledger = await opened(places[1])
    jobs, events, docs = await contents(ledger)
    await ledger.close()
    assert len(jobs) > 30
    assert {one.status for one in jobs} == set(Status) - {Status.CANCELLED, Status.WAITING}
    assert (jobs, events, docs) == before


async def test_what_changes_while_history_is_copied_arrives_as_it_is_in_the_end(source, places):
    calls = {"enter": lambda: live_on(source)}

    await moved(*places, wrap=lambda side: Meanwhile(side, calls))

    assert not calls
    ledger = await opened(places[1])
    jobs, events, _ = await contents(ledger)
    await ledger.close()
    assert [one.id for one in jobs if one.result == '"late"']
    assert [event for event in events if event.type == "redriven"]
    with pytest.raises(MovedError, match="has moved to"):
        await source.find(Filter(), Page())


async def test_numbers_tokens_and_positions_never_go_back(source, places):
    calls = {"enter": lambda: live_on(source)}
    await source.insert([job(id="gone", queue="other", priority=9)])
    (lease,) = await source.claim(Want("w", ("other",), 1))
    await source.commit([transition.completed(lease, None)])
    (gone,) = await source.get(["gone"])
    (last,) = (await source.history(None, limit=100_000))[-1:]
    await source.prune(await source.now() + HOUR, 1, ids=["gone"])

    await moved(*places, wrap=lambda side: Meanwhile(side, calls))

    ledger = await opened(places[1])
    await ledger.insert([job(id="new")])
    (new,) = await ledger.get(["new"])
    (event,) = await ledger.history("new")
    held = {one.id: one for one in await ledger.find(Filter(status=Status.PROCESSING), Page())}
    back = {one.id: one for one in await ledger.expired(100)}
    await ledger.close()
    assert new.number > gone.number
    assert event.position > last.position
    assert {id_: one.token for id_, one in back.items()} == {
        id_: one.token for id_, one in held.items()
    }
    assert back


async def test_keys_and_intentions_hold_at_the_new_place(source, places):
    await moved(*places)

    ledger = await opened(places[1])
    repeat = job(tenant="acme", key="key-1", fingerprint="print-1")
    other = job(tenant="acme", key="key-1", fingerprint="another")
    outcomes = [made.outcome for made in await ledger.insert([repeat, other])]
    await ledger.close()
    assert outcomes == ["duplicate", "conflict"]


async def test_nothing_is_written_at_the_old_place_once_it_is_frozen(source, places):
    (lease,) = await source.claim(Want("w", ("default",), 1))
    told = []

    await source.put("worker", "x", "{}", ttl_us=HOUR)

    async def tries():
        for act in (
            lambda: source.insert([job()]),
            lambda: source.insert([job(), job()], atomic=True),
            lambda: source.commit([transition.completed(lease, None)]),
            lambda: source.extend(["x"], HOUR),
            lambda: source.put("limit", "key:b", "{}"),
            lambda: source.prune(FAR, 100),
        ):
            with pytest.raises(MovedError, match="is being moved") as caught:
                await act()
            told.append(caught.value.facts["retry_after"])
        assert await source.find(Filter(), Page())

    await moved(*places, wrap=lambda side: Meanwhile(side, {"clear": tries}))

    assert told == [5] * 6


async def test_while_it_drains_jobs_come_in_and_end_but_none_starts(source, places):
    await source.insert([job(queue="fresh"), job(queue="fresh")])
    (lease,) = await source.claim(Want("w", ("fresh",), 1))
    seen = []

    async def tries():
        with pytest.raises(MovedError):
            await source.claim(Want("w", ("fresh",), 1))
        seen.extend(await source.insert([job(id="late")]))
        seen.extend(await source.commit([transition.completed(lease, None)]))

    await moved(*places, wrap=lambda side: Meanwhile(side, {"holders": tries}))

    ledger = await opened(places[1])
    late, ended = await ledger.get(["late", lease.id])
    await ledger.close()
    assert [seen[0].outcome, seen[1].accepted] == ["created", True]
    assert (late.status, ended.status) == (Status.PENDING, Status.COMPLETED)


async def test_a_worker_that_does_not_end_in_time_loses_its_jobs_and_can_not_commit(source, places):
    (lease,) = await source.claim(Want("w", ("default",), 1))
    lost = []

    async def beat():
        lost.extend(await source.extend(["w"], HOUR))
        held = await source.find(Filter(status=Status.PROCESSING), Page())
        await source.commit([transition.released(lease_) for lease_ in await source.expired(100)])
        assert held

    await moved(*places, wrap=lambda side: Meanwhile(side, {"hold_jobs": beat}))

    assert lost == ["w"]
    ledger = await opened(places[1])
    (there,) = await ledger.get([lease.id])
    (verdict,) = await ledger.commit([transition.completed(lease, None)])
    await ledger.close()
    assert there.status is Status.PENDING
    assert not verdict.accepted


async def test_who_opens_a_moved_ledger_is_told_where_it_went(source, places):
    await moved(*places)

    late = open_ledger(places[0])
    for look in (late.migrate, late.check):
        with pytest.raises(
            MovedError, match=f"has moved to {re.escape(shown(places[1]))}; give --ledger"
        ):
            await look()
    await late.close()


async def test_a_move_goes_to_an_empty_place_only(source, places):
    ledger = await opened(places[1])
    await ledger.close()

    with pytest.raises(ConflictError, match="moved to an empty place only"):
        await moved(*places)

    assert [made.outcome for made in await source.insert([job()])] == ["created"]


async def test_a_place_taken_at_the_last_moment_is_not_overwritten(source, places):
    async def intrude():
        ledger = await opened(places[1])
        await ledger.insert([job(id="theirs")])
        await ledger.close()

    with pytest.raises(ConflictError, match="somebody else meanwhile"):
        await moved(*places, wrap=lambda side: Meanwhile(side, {"put_in_place": intrude}))

    ledger = await opened(places[1])
    assert (await ledger.get(["theirs"]))[0] is not None
    await ledger.close()


async def test_two_cannot_move_a_ledger_at_once(source, places):
    other = open_source(places[0], CLOCK)
    await other.hold()

    with pytest.raises(ConflictError, match="another process is moving"):
        await moved(*places)

    await other.close()


async def test_a_ledger_on_its_way_goes_nowhere_else(source, places):
    other = open_source(places[0], CLOCK)
    await other.begin(Mark(new_id(), "sqlite:////elsewhere.db", COPYING))
    await other.close()

    with pytest.raises(ConflictError, match=r"on its way to sqlite:////elsewhere\.db"):
        await moved(*places)


async def test_a_ledger_that_is_not_there_is_not_made(tmp_path, empty):
    places = empty.new("sqlite"), empty.new("sqlite")

    with pytest.raises(UnavailableError, match="there is no ledger"):
        await moved(*places)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", [COPYING, FROZEN])
async def test_an_unfinished_move_can_be_taken_back(stage, source, places):
    before = await contents(source)
    mover = open_source(places[0], CLOCK)
    mark = Mark(new_id(), places[1], COPYING)
    await mover.begin(mark)
    if stage == FROZEN:
        await mover.enter(mark, "draining")
        await mover.enter(mark, FROZEN)
    await mover.close()

    again = open_source(places[0], CLOCK)
    told = await abort(again)
    await again.close()

    assert told.stage == stage
    assert await contents(source) == before
    assert await source.claim(Want("w", ("default",), 1))
    await live_on(source)
    await moved(*places)


async def test_what_has_moved_is_not_taken_back(source, places):
    await moved(*places)
    again = open_source(places[0], CLOCK)

    with pytest.raises(ConflictError, match="that is not undone"):
        await abort(again)

    await again.close()


async def test_what_an_abandoned_move_left_is_not_taken_for_a_new_ones(source, places):
    with pytest.raises(RuntimeError):
        await moved(*places, wrap=lambda side: Meanwhile(side, {"enter": stop}))
    again = open_source(places[0], CLOCK)
    await abort(again)
    await again.close()
    await live_on(source)
    before = await contents(source)

    await moved(*places)

    ledger = await opened(places[1])
    assert await contents(ledger) == before
    await ledger.close()


async def stop():
    raise RuntimeError("stopped here")


@pytest.mark.parametrize("pair", PAIRS)
async def test_a_move_killed_before_any_of_its_steps_goes_on(pair, empty):
    points = 0
    for point in range(1, POINTS_MAX, EVERY.get(pair, 1)):
        places = tuple(empty.new(store) for store in pair.split())
        source = await filled(places[0])
        command = [sys.executable, __file__.replace("test_move", "moving"), *places, str(point)]
        ended = await asyncio.to_thread(subprocess.run, command, timeout=60, check=False)
        if ended.returncode == 0:
            await source.close()
            break
        assert ended.returncode == -signal.SIGKILL
        points += 1
        before = await _used(source, places)
        await source.close()

        await moved(*places)

        ledger = await opened(places[1])
        found = await contents(ledger)
        await ledger.close()
        assert before is None or found == before, f"killed before call {point}"
        assert len({one.id for one in found[0]}) == len(found[0])
        empty.clean()
    assert points > 20 // EVERY.get(pair, 1)


async def _used(source, places):
    """Use a ledger whose move was killed, as far as it lets one; return what it has now."""
    with contextlib.suppress(MovedError):
        await live_on(source)
    try:
        return await contents(source)
    except MovedError:
        return None


PLANTED = {
    "changes that are not noted": (
        "move_stages", "copying", "OLD.finished_at IS NOT NULL OR NEW", "0 AND NEW", "differs",
    ),
    "prunes that are not noted": (
        "move_stages", "copying", "VALUES (OLD.number)", "SELECT 1 WHERE 0", "differs",
    ),
    "a freeze that freezes nothing": (
        "move_stages", "frozen", "SELECT RAISE(ABORT, 'the ledger is being moved')", "SELECT 1",
        "differs",
    ),
    "a text that arrives cut off": (
        "move_load", "event", "VALUES (?, ?, ?, ?, ?, ?)", "VALUES (?, ?, ?, ?, ?, substr(?, 2))",
        "did not arrive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", PLANTED)
async def test_a_move_that_loses_something_is_caught(bug, empty, monkeypatch):
    file, part, right, wrong, told = PLANTED[bug]

    def planted(name):
        parts = fragments(name)
        if name != file:
            return parts
        assert right in parts[part]
        return {**parts, part: parts[part].replace(right, wrong)}

    monkeypatch.setattr(transfer, "fragments", planted)
    places = empty.new("sqlite"), empty.new("sqlite")
    source = await filled(places[0])

    async def late():
        with contextlib.suppress(MovedError):
            await source.insert([job()])

    acts = {"enter": lambda: live_on(source), "counters": late}
    with pytest.raises(CorruptError, match=told):
        await moved(*places, wrap=lambda side: Meanwhile(side, acts))

    await source.close()
