"""What nobody was told of yet is kept; a stream that nobody wants any more holds nothing."""

import pytest

from outlast.blobs import open_blobs
from outlast.core.limits import DAY, HOUR
from outlast.core.retention import Retention
from outlast.ledger.memory import MemoryLedger
from outlast.upkeep.forget import Forgetting
from tests.events.rig import Log, live, stream_of
from tests.upkeep.rig import Hands


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def shelf(clock):
    return MemoryLedger(clock=clock)


class Rash(Forgetting):
    """A planted bug: what is published is not asked."""

    async def _told(self, batch, told_to):
        return batch


def forgetting(shelf, clock, folder, kind=Forgetting):
    kept = Retention.read({"completed": "1h"})
    return kind(shelf, open_blobs(str(folder)), kept, clock=clock)


async def forgotten_during_an_outage(shelf, clock, folder, kind=Forgetting):
    """Return how many jobs are forgotten while Kafka is away, and once it has got everything."""
    log = Log()
    stream = stream_of(shelf, log, clock=clock, ttl_us=3 * HOUR)
    loop = forgetting(shelf, clock, folder, kind)
    await live(shelf, jobs=3)
    await stream.stand()
    clock.turn(2 * HOUR)
    during = await loop.prune()
    await stream.publish()
    return during, await loop.prune(), len(log.ids)


async def test_a_job_stays_until_its_events_are_published(shelf, clock, tmp_path):
    assert await forgotten_during_an_outage(shelf, clock, tmp_path) == (0, 3, 9)


async def test_forgetting_what_nobody_was_told_of_is_caught(shelf, clock, tmp_path):
    assert await forgotten_during_an_outage(shelf, clock, tmp_path, Rash) == (3, 0, 0)


async def test_a_stream_that_nobody_publishes_for_a_day_holds_nothing(shelf, clock, tmp_path):
    stream = stream_of(shelf, Log(), clock=clock, ttl_us=HOUR)
    await live(shelf, jobs=3)
    await stream.stand()
    clock.turn(HOUR + DAY + 1)

    assert await forgetting(shelf, clock, tmp_path).prune() == 3


async def test_whoever_comes_back_after_that_says_that_events_may_be_missing(shelf, clock, caplog):
    stream = stream_of(shelf, Log(), clock=clock, ttl_us=HOUR)
    await stream.stand()
    ended_us = clock.now_us() + HOUR
    clock.turn(HOUR + DAY + 1)

    await stream.stand()

    assert stream._cursor.missed == ended_us
    assert "nobody published jobs for a day" in caplog.text


async def test_without_a_stream_nothing_is_held(shelf, clock, tmp_path):
    await live(shelf, jobs=3)
    clock.turn(2 * HOUR)

    assert await forgetting(shelf, clock, tmp_path).prune() == 3
