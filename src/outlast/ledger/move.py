"""Moves a live ledger to another place, of whatever store: nothing lost, nothing twice.

See `docs/decisions/0025-moving-a-live-ledger.md` for the order of the steps, and why it is safe to
be killed between any two of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from outlast.core.errors import ConflictError, CorruptError, InvalidInputError
from outlast.core.limits import LEASE_US, SECOND
from outlast.core.ports import Clock
from outlast.ledger.postgres.address import SCHEMES, needs_driver
from outlast.ledger.protocol import Bell
from outlast.ledger.rows import Row

JOBS_AT_ONCE: Final = 2_000
RECORDS_AT_ONCE: Final = 5_000
RECORDS: Final = ("idempotency", "doc", "level", "lane", "pace")  # small, and copied at the end
TALLIED: Final = ("job", "event", "idempotency", "doc")
DRAIN_S: Final = 60.0
_LOOK_S: Final = 0.2

# A ledger that is being moved goes through these stages, and only forward.
COPYING: Final = "copying"  # all goes on; changes of what was copied are noted
DRAINING: Final = "draining"  # nothing starts; jobs come in, and what runs may end
FROZEN: Final = "frozen"  # nothing is written
MOVED: Final = "moved"  # the other place is the truth
STAGES: Final = (COPYING, DRAINING, FROZEN, MOVED)


class Mark(NamedTuple):
    """What a ledger says of its own move."""

    id: str
    destination: str  # without a password
    stage: str


class Batch(NamedTuple):
    """Some jobs by their numbers, as all stores write them down, with their events."""

    numbers: list[int]
    jobs: list[Row]
    events: list[Row]


class Source(Protocol):
    """A ledger that is moved away."""

    place: str

    async def hold(self) -> None:
        """Keep others from moving it at the same time; raise ConflictError if one does."""
        ...

    async def mark(self) -> Mark | None: ...

    async def begin(self, mark: Mark) -> None:
        """Note each change of an ended job from now on."""
        ...

    async def enter(self, mark: Mark, stage: str) -> None:
        """Enter the next stage, in one transaction that waits for those that write."""
        ...

    async def abandon(self) -> None:
        """Take everything back that a move has put there."""
        ...

    async def jobs(self, part: str, after: int, limit: int) -> Batch:
        """Return the next jobs: those that have `"ended"`, or the `"rest"`."""
        ...

    async def changed(self, after: int, limit: int) -> list[int]:
        """Return numbers of jobs of which the copy may be wrong."""
        ...

    async def records(self, table: str, after: tuple[str, str], limit: int) -> list[Row]: ...

    async def counters(self) -> tuple[int, int]:
        """Return the last number of a job and the last position of an event, pruned or not."""
        ...

    async def tally(self, table: str) -> Row:
        """Return the count of a table's rows and sums over them."""
        ...

    async def holders(self) -> list[str]:
        """Return the living workers that have jobs in hand."""
        ...

    async def give_up(self, holders: Sequence[str]) -> None:
        """Take their leases from workers, so that none of them can renew or commit."""
        ...

    async def hold_jobs(self, holders: Sequence[str]) -> bool:
        """Return whether any of these workers still has a job in hand."""
        ...

    async def close(self) -> None: ...

    @property
    def bell(self) -> Bell: ...


class Target(Protocol):
    """Where a ledger is moved to; nobody sees it before it is whole."""

    place: str

    async def refuse_if_taken(self) -> None:
        """Raise ConflictError when there is something already."""
        ...

    async def prepare(self, mark: Mark, source: str) -> int:
        """Make it aside, or find it; return the number of the last ended job that it has."""
        ...

    async def clear(self) -> None:
        """Remove all but the ended jobs."""
        ...

    async def forget(self, numbers: Sequence[int]) -> None: ...

    async def load(self, batch: Batch) -> Batch:
        """Store jobs in one transaction; return them as they are read back."""
        ...

    async def load_records(self, table: str, rows: Sequence[Row]) -> None: ...

    async def records(self, table: str, after: tuple[str, str], limit: int) -> list[Row]: ...

    async def set_counters(self, jobs: int, events: int) -> None: ...

    async def tally(self, table: str) -> Row: ...

    async def put_in_place(self, mark: Mark) -> None:
        """Show it to everybody, at once; nothing is done where that was done before."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a move has come to."""

    step: str
    jobs: int = 0
    events: int = 0
    detail: str = ""


Tell = Callable[[Progress], None]


class Move:
    """One move, which goes on where an earlier one was interrupted."""

    def __init__(self, source: Source, target: Target, clock: Clock, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._clock = clock
        self._tell = tell
        self._jobs = self._events = 0
        self._frozen_at = 0
        self.frozen_us = 0  # for how long nothing could be written

    async def run(self, new_id: str, drain_s: float = DRAIN_S) -> dict[str, int]:
        """Move the ledger; return how many rows of each table have arrived."""
        await self._source.hold()
        mark = await self._source.mark()
        if mark is not None and mark.destination != self._target.place:
            raise ConflictError(
                f"the ledger {self._source.place} is on its way to {mark.destination}",
                hint="go on with that, or take it back with outlast migrate --from … --abort",
            )
        if mark is None or mark.stage != MOVED:
            await self._target.refuse_if_taken()
        if mark is None:
            mark = Mark(new_id, self._target.place, COPYING)
            await self._source.begin(mark)
        if mark.stage != MOVED:
            after = await self._target.prepare(mark, self._source.place)
            await self._copy_ended(after)
            await self._drain(mark, drain_s)
            self._frozen_at = self._clock.elapsed_us()
            await self._enter(mark, FROZEN)
            await self._copy_rest()
            await self._verify()
            await self._enter(mark, MOVED)
        await self._target.put_in_place(mark)
        self.frozen_us = self._clock.elapsed_us() - self._frozen_at if self._frozen_at else 0
        self._say("moved", detail=self._target.place)
        return {table: (await self._target.tally(table))[0] for table in TALLIED}

    def _say(self, step: str, detail: str = "") -> None:
        self._tell(Progress(step, self._jobs, self._events, detail))

    async def _enter(self, mark: Mark, stage: str) -> None:
        """Enter a stage, unless an earlier run has come that far."""
        now = await self._source.mark()
        if now is None or now.id != mark.id:
            raise ConflictError("the move was taken back by somebody else while it went on")
        if STAGES.index(now.stage) < STAGES.index(stage):
            await self._source.enter(mark, stage)
        self._say(stage)

    async def _copy_ended(self, after: int) -> None:
        """Copy history while everything goes on."""
        self._say("copying")
        while (batch := await self._source.jobs("ended", after, JOBS_AT_ONCE)).numbers:
            await self._load(batch)
            after = batch.numbers[-1]
            self._say("copying")

    async def _drain(self, mark: Mark, drain_s: float) -> None:
        """Let what runs end; then take it from its workers, and wait until they know it."""
        await self._enter(mark, DRAINING)
        if await self._is_idle(drain_s):
            return
        holders = await self._source.holders()
        await self._source.give_up(holders)
        self._say("giving back", detail=f"jobs of {len(holders)} workers")
        # Whoever had them learns it with its next heartbeat, and is killed: never on both sides.
        until = self._clock.elapsed_us() + LEASE_US
        while await self._source.hold_jobs(holders) and self._clock.elapsed_us() < until:
            await self._source.bell.wait(_LOOK_S)

    async def _is_idle(self, within_s: float) -> bool:
        until = self._clock.elapsed_us() + int(within_s * SECOND)
        while await self._source.holders():
            if self._clock.elapsed_us() >= until:
                return False
            await self._source.bell.wait(_LOOK_S)
        return True

    async def _copy_rest(self) -> None:
        """Copy what may have changed since, while nothing can change."""
        await self._target.clear()
        after = 0
        while numbers := await self._source.changed(after, JOBS_AT_ONCE):
            await self._target.forget(numbers)
            after = numbers[-1]
        self._say("copying the rest")
        after = 0
        while (batch := await self._source.jobs("rest", after, JOBS_AT_ONCE)).numbers:
            await self._load(batch)
            after = batch.numbers[-1]
            self._say("copying the rest")
        for table in RECORDS:
            await self._copy_records(table)
        await self._target.set_counters(*await self._source.counters())

    async def _load(self, batch: Batch) -> None:
        arrived = await self._target.load(batch)
        if arrived != batch:
            raise CorruptError(
                f"jobs {batch.numbers[0]} to {batch.numbers[-1]} did not arrive at "
                f"{self._target.place} as they were sent",
                hint="run the same command again; if it happens again, look at that disk or server",
            )
        self._jobs += len(batch.jobs)
        self._events += len(batch.events)

    async def _copy_records(self, table: str) -> None:
        after = ("", "")
        while rows := await self._source.records(table, after, RECORDS_AT_ONCE):
            await self._target.load_records(table, rows)
            arrived = await self._target.records(table, after, RECORDS_AT_ONCE)
            if arrived != rows and table != "lane":
                raise CorruptError(f"{table}: {len(rows)} rows did not arrive as they were sent")
            if len(rows) < RECORDS_AT_ONCE or table not in TALLIED:
                break
            after = (rows[-1][0], rows[-1][1])
        self._say("copying the rest", detail=table)

    async def _verify(self) -> None:
        """Compare counts and sums of both sides, as they now are."""
        for table in TALLIED:
            there, here = await self._source.tally(table), await self._target.tally(table)
            if there != here:
                raise CorruptError(
                    f"table {table} differs: {self._source.place} has {there}, "
                    f"{self._target.place} has {here}",
                    hint="take the move back with --abort, and report this",
                )
        self._say("verified")


def open_source(url: str, clock: Clock) -> Source:
    """Open the ledger that is to be moved; raise InvalidInputError when it is of no such kind."""
    if url.startswith("sqlite:///"):
        from outlast.ledger.sqlite.transfer import SqliteSource  # noqa: PLC0415 - as open_ledger

        return SqliteSource(url, clock)
    if url.startswith(SCHEMES):
        with needs_driver():
            from outlast.ledger.postgres.transfer import PostgresSource  # noqa: PLC0415 - as above

        return PostgresSource(url, clock)
    raise _unknown("--from", url)


def open_target(url: str, clock: Clock) -> Target:
    """Open the place to which a ledger is to be moved."""
    if url.startswith("sqlite:///"):
        from outlast.ledger.sqlite.transfer import SqliteTarget  # noqa: PLC0415 - as open_ledger

        return SqliteTarget(url, clock)
    if url.startswith(SCHEMES):
        with needs_driver():
            from outlast.ledger.postgres.transfer import PostgresTarget  # noqa: PLC0415 - as above

        return PostgresTarget(url, clock)
    raise _unknown("--to", url)


def _unknown(option: str, url: str) -> InvalidInputError:
    return InvalidInputError(
        f"{option}: expected sqlite:///path or postgresql://user@host/database, "
        f"got {url.rpartition('@')[2]!r:.100}",
        hint="a ledger in memory can't be moved; a path has three slashes, an absolute one four",
    )


async def abort(source: Source) -> Mark | None:
    """Take an unfinished move back; return what there was of it."""
    await source.hold()
    mark = await source.mark()
    if mark is not None and mark.stage == MOVED:
        raise ConflictError(
            f"the ledger {source.place} has moved to {mark.destination}: that is not undone",
            hint="move it from there to a new place; if it was interrupted, run it again",
        )
    if mark is not None:
        await source.abandon()
    return mark
