"""Every event of every job arrives, at least once and in order per job, whoever dies meanwhile."""

import asyncio
from contextlib import suppress

import pytest

from outlast.core import transition
from outlast.core.errors import UnavailableError
from outlast.core.job import NewJob, Want
from outlast.ledger import open_ledger
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.within import connected
from outlast.system import new_id
from outlast.testing.kafka import KafkaServer
from outlast.upkeep.stream import DeposedError, Stream, last_position
from tests.events.rig import (
    QUEUE,
    TTL_US,
    Log,
    Place,
    by_job,
    cursor,
    firsts,
    live,
    plan_of,
    running,
    stream_of,
    told_by,
)
from tests.upkeep.rig import Hands


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def shelf(clock):
    return MemoryLedger(clock=clock)


async def test_every_event_comes_to_each_group_in_order_of_its_job(either, place):
    ids = await live(either, jobs=30)
    async with running(place.stream(either)):
        ids += await live(either, jobs=30)
        everything = await told_by(either)

        groups = await asyncio.gather(
            place.read(everything, "first"), place.read(everything, "second")
        )

    assert len(everything) == 3 * len(ids)
    for came in groups:
        heard = [event.get_id() for event in came]
        assert sorted(heard) == sorted(everything)
        assert by_job(heard) == {id_: [1, 2, 3] for id_ in ids}


async def test_an_event_says_what_happened_to_which_job(ledger, place):
    (id_,) = await live(ledger)
    async with running(place.stream(ledger, "from=beginning&source=/shop/jobs")):
        came = await place.read(await told_by(ledger))

    last = came[-1]
    assert [event.get_type() for event in came] == [
        "dev.outlast.job.submitted",
        "dev.outlast.job.started",
        "dev.outlast.job.completed",
    ]
    assert (last.get_source(), last.get_subject()) == ("/shop/jobs", id_)
    assert last.get_time() is not None
    assert last.get_data() == {
        "job_id": id_, "seq": 3, "task": "t", "queue": QUEUE, "tenant": None,
        "status": "completed", "attempt": 1, "event": {},
    }  # fmt: skip


async def test_what_happens_while_kafka_is_away_is_published_later(ledger, kafka, tmp_path):
    with KafkaServer(tmp_path / "kafka") as server:
        place = Place(server)
        stream = place.stream(ledger)
        async with running(stream):
            await live(ledger)
            before = await told_by(ledger)
            await place.read(before)
            server.stop()
            await live(ledger, jobs=5)
            while stream._cursor is not None:
                await ledger.bell.wait(0.1)
            server.start()
            later = (await told_by(ledger))[len(before) :]

            came = await place.read(later)

    assert set(later) <= {event.get_id() for event in came}


# The turn -----------------------------------------------------------------------------------------


async def test_a_second_publisher_waits_while_the_first_lives(shelf, clock):
    log = Log()
    first, second = stream_of(shelf, log, clock=clock), stream_of(shelf, log, clock=clock)
    await live(shelf)

    turns = [await first.stand(), await second.stand()]
    clock.turn(TTL_US // 2)
    await first.publish()
    clock.turn(TTL_US * 3 // 4)
    turns.append(await second.stand())

    assert turns == [True, False, False]
    assert log.ids == await told_by(shelf)


async def test_another_takes_over_when_the_first_is_silent_and_the_first_stops(shelf, clock):
    log = Log()
    first, second = stream_of(shelf, log, clock=clock), stream_of(shelf, log, clock=clock)
    await live(shelf)
    await first.stand()
    clock.turn(TTL_US + 1)

    assert await second.stand()
    with pytest.raises(DeposedError):
        await first.publish()
    await second.publish()

    assert log.ids == await told_by(shelf)


async def test_both_at_once_repeat_but_nothing_comes_out_of_order(shelf, clock):
    """One stood still after it looked at its turn, and wrote when another had long begun."""
    log, late = Log(), Log()
    first, second = stream_of(shelf, late, clock=clock), stream_of(shelf, log, clock=clock)
    await live(shelf, jobs=3)
    await first.stand()

    async def stand_still(messages, within_s):
        clock.turn(TTL_US + 1)
        assert await second.stand()
        await second.publish()
        await live(shelf)
        await second.publish()
        log.messages += messages

    late.publish = stand_still
    with pytest.raises(DeposedError):
        await first.publish()

    assert firsts(log.ids) == await told_by(shelf)
    assert (await cursor(shelf)).position == 12


async def test_whoever_cannot_publish_lets_another_have_the_turn(shelf, clock):
    away, log = Log(), Log()
    first, second = stream_of(shelf, away, clock=clock), stream_of(shelf, log, clock=clock)
    away.is_away = True
    await live(shelf)
    async with running(first):
        while not await shelf.docs("stream") or first._cursor is not None:
            await shelf.bell.wait(0.01)

        assert await second.stand()


# The cursor ---------------------------------------------------------------------------------------


class Hasty(Stream):
    """A planted bug: what is not acknowledged is taken for published."""

    async def publish(self):
        cursor = self._cursor
        events = await self._ledger.history(None, after=cursor.position)
        await self._write(cursor._replace(position=events[-1].position))
        return await self._topic.publish(await self._messages(cursor, events), 1)


async def missing_after_an_outage(shelf, clock, kind):
    log = Log()
    stream = stream_of(shelf, log, clock=clock, kind=kind)
    await live(shelf)
    await stream.stand()
    log.is_away = True
    with suppress(UnavailableError):
        await stream.publish()
    log.is_away = False
    await live(shelf)
    await stream.publish()
    return set(await told_by(shelf)) - set(log.ids)


async def test_nothing_is_missing_after_an_outage(shelf, clock):
    assert not await missing_after_an_outage(shelf, clock, Stream)


async def test_a_cursor_that_runs_ahead_is_caught(shelf, clock):
    assert await missing_after_an_outage(shelf, clock, Hasty)


async def test_a_repeat_is_the_same_to_the_last_byte(shelf, clock):
    log, again = Log(), Log()
    await live(shelf, jobs=2)
    first = stream_of(shelf, log, clock=clock)
    await first.stand()
    await first.publish()
    await shelf.put("stream", "jobs", None)
    second = stream_of(shelf, again, plan_of("from=beginning&source=/x"), clock=clock)
    third = stream_of(shelf, log, plan_of("from=beginning&source=/x"), clock=clock)
    log.messages.clear()
    for stream in (second, third):
        await stream.stand()
        await stream.publish()
        await shelf.put("stream", "jobs", None)

    assert log.messages == again.messages


@pytest.mark.parametrize(("begins", "expected"), [("now", 3), ("beginning", 6)])
async def test_a_stream_begins_where_it_is_told(shelf, clock, begins, expected):
    log = Log()
    stream = stream_of(shelf, log, plan_of(f"from={begins}"), clock=clock)
    await live(shelf)
    await stream.stand()
    await live(shelf)

    await stream.publish()

    assert len(log.ids) == expected


@pytest.mark.parametrize("jobs", [0, 1, 2, 5, 20])
async def test_the_newest_position_is_found(shelf, jobs):
    for _ in range(jobs):
        await live(shelf)

    everything = await shelf.history(None)
    assert await last_position(shelf) == (everything[-1].position if jobs else 0)


# What is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("also", "told"), [("", 0), ("also=log", 1)])
async def test_logs_go_only_where_they_are_asked_for(shelf, clock, also, told):
    log = Log()
    await shelf.put("worker", "w", "{}", ttl_us=TTL_US)
    await shelf.insert([NewJob(id="00000000-0000-7000-8000-000000000000", task="t")])
    (lease,) = await shelf.claim(Want("w", (QUEUE,), 1))
    await shelf.commit([transition.amended(lease, "log", '{"message": "hello"}')])
    stream = stream_of(shelf, log, plan_of(f"from=beginning&{also}"), clock=clock)
    await stream.stand()

    await stream.publish()

    assert len(log.ids) == 2 + told
    assert (await cursor(shelf)).position == 3


async def test_neither_arguments_nor_tracebacks_nor_long_texts_are_told(shelf, clock):
    log, secret = Log(), "s3cr3t"
    await shelf.put("worker", "w", "{}", ttl_us=TTL_US)
    await shelf.insert([NewJob(id="00000000-0000-7000-8000-000000000000", task="t")])
    (lease,) = await shelf.claim(Want("w", (QUEUE,), 1))
    error = {"type": "E", "message": "m" * 5_000, "traceback": secret, "retryable": False}
    (job,) = await shelf.get([lease.id])
    await shelf.commit([transition.failed(lease, error, backoff=transition.LOST_BACKOFF, dice=0)])
    (job,) = await shelf.get([lease.id])
    await shelf.commit([transition.redriven(job.id, job.status, args=f'{{"key": "{secret}"}}')])
    stream = stream_of(shelf, log, clock=clock)
    await stream.stand()

    await stream.publish()

    assert len(log.messages) == 4
    assert all(secret.encode() not in message.value for message in log.messages)
    assert all(len(message.value) < 2_500 for message in log.messages)


async def test_what_came_out_of_order_would_be_seen(shelf, clock):
    """The reader's eye of these tests is no blind one."""
    ids = await live(shelf, jobs=2)

    assert by_job(firsts(reversed(await told_by(shelf)))) == {id_: [3, 2, 1] for id_ in ids}


async def test_what_commits_late_is_published_too(migrated, place):
    """On PostgreSQL transactions may end in another order than that of their events."""
    import asyncpg

    ledger = open_ledger(migrated)
    older, younger = await asyncpg.connect(migrated), await asyncpg.connect(migrated)
    insert_within = await ledger.within()
    jobs = [NewJob(id=new_id(), task="t") for _ in range(2)]
    async with running(place.stream(ledger)):
        for one in (older, younger):
            await one.execute("BEGIN")
            await one.execute("SELECT pg_current_xact_id()")
        await insert_within(connected(younger), jobs[:1])
        await insert_within(connected(older), jobs[1:])
        await older.execute("COMMIT")
        beside = await live(ledger, jobs=3)
        assert await told_by(ledger) == []  # what may still come before it is waited for
        await younger.execute("COMMIT")
        everything = await told_by(ledger)

        came = await place.read(everything)

    jobs_told = by_job(event.get_id() for event in came)
    assert jobs_told.keys() == {job.id for job in jobs} | set(beside)
    await older.close()
    await younger.close()
    await ledger.close()
