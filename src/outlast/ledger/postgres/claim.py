"""The claim: who may start now, in which order, decided and done in one transaction.

The usual claim, where nothing has to be judged, is a function of the database's: one round trip.

Claims go on side by side, each passing by the rows that others have locked, as long as nothing is
to be shared or limited. A queue whose lines take turns, or that a limit holds for, is one claim's
at a time; and so are all such queues when a limit reaches over several of them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outlast.core.job import Leases, Want
from outlast.core.share import Gate, Limits
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.limits import (
    LIMITS_READ,
    Line,
    Records,
    bounds_of,
    gates_of,
    holding,
    limits_of_lines,
    reach_beyond,
)
from outlast.ledger.postgres.statements import sql
from outlast.ledger.rows import Row, lease_of
from outlast.ledger.turns import FOR_EVER, Choice, Level, Place, View, choose, levels_of

_FIRST_READ: Final = 8  # how many numbers of each line are read before they are asked for
_MORE: Final = 64


class Short(Exception):
    """A line of which too few jobs were read."""

    def __init__(self, place: tuple[Any, ...]) -> None:
        super().__init__(place)
        self.place = place


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of a queue before anything is taken."""

    queue: str
    is_paused: bool
    has_turns: bool
    first: list[str] | None  # its priority, tenant, key and task
    last: list[str] | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to start, and nothing to forget."""
        return self.is_paused or (self.first is None and not self.has_turns)

    @property
    def sole_line(self) -> Line | None:
        """Return the only line there is, if there is one and nobody's turn is to be remembered."""
        if self.first is None or self.first != self.last or self.has_turns:
            return None
        _, tenant, key, task = self.first
        return Line(self.queue, task, tenant, key)


class Claims:
    """Claims in one round trip where nothing is to be judged, and remembers where something is."""

    def __init__(self) -> None:
        self._judged: set[frozenset[str]] = set()

    async def claim(self, db: Session, want: Want, now: int | None) -> Leases:
        """Lease runnable jobs queue by queue, each with its `started` event."""
        queues = frozenset(want.queues)
        if queues not in self._judged:
            found = await db.rows(
                "claim_plain", queues=want.queues, holder=want.holder, now=now, limit=want.limit
            )
            if not found or found[0][0] is not None:
                return Leases(lease_of(tuple(row)[1:]) for row in found)
            self._judged.add(queues)
        async with db.transaction(sql("claim_begin")):
            leases, is_plain = await _judge(db, want, now)
        if is_plain:
            self._judged.discard(queues)
        return leases


async def _judge(db: Session, want: Want, now: int | None) -> tuple[Leases, bool]:
    """Lease what limits and turns let start; also say whether there were none of either."""
    found = await db.rows(
        "look", queues=list(want.queues), holder=want.holder, now=now, most=LIMITS_READ
    )
    if not found or not found[0][2]:
        return Leases(), False
    looks = [_Look(row[0], *row[4:]) for row in map(tuple, found)]
    records = {(kind, key): doc for kind, key, doc in found[0][3]}
    hand = _Hand(db, want, found[0][1], records)
    await hand.take([look for look in looks if not look.is_empty])
    leases = Leases(lease_of(tuple(row)[1:]) for row in hand.claimed)
    if len(leases) < want.limit:
        for free_at in hand.free_at:
            leases.note(free_at, hand.now)
    return leases, not hand.was_judged and all(kind == "queue" for kind, _ in records)


class _Hand:
    """What one claim takes."""

    def __init__(self, db: Session, want: Want, now: int, records: Records) -> None:
        self._db = db
        self._want = want
        self._records = records  # all there are, unless they are too many
        self.now = now
        self.claimed: list[Row] = []
        self.free_at: list[int | None] = []
        self.was_judged = False

    @property
    def _room(self) -> int:
        return self._want.limit - len(self.claimed)

    async def _limits(self, lines: Sequence[Line]) -> Limits:
        if len(self._records) < LIMITS_READ:
            return holding(self._records)
        return await limits_of_lines(self._db, lines)

    async def take(self, looks: list[_Look]) -> None:
        """Lease what may start, queue after queue."""
        lines = [line for look in looks if (line := look.sole_line) is not None]
        limits = await self._limits(lines)
        open_ = {line.queue: line for line in lines if not bounds_of(line, limits)}
        locks = [f"queue {look.queue}" for look in looks if look.queue not in open_]
        self.was_judged = bool(locks)
        if locks:
            if len(self._records) >= LIMITS_READ or reach_beyond(self._records):
                locks.append("every queue")
            await self._db.rows("lock", names=locks)
        for look in looks:
            if self._room <= 0:
                break
            if look.queue in open_ and look.first is not None:
                await self._take_all(open_[look.queue], int(look.first[0]))
            else:
                await self._take_shared(look.queue)

    async def _take_all(self, line: Line, priority: int) -> None:
        """Lease from the only line there is, which nothing limits: one statement."""
        self.claimed += await self._db.rows(
            "claim",
            **line._asdict(),
            priority=priority,
            holder=self._want.holder,
            now=self.now,
            limit=self._room,
        )

    async def _take_shared(self, queue: str) -> None:
        """Lease from several lines: one start after the other, each to whoever's turn it is."""
        found = await self._db.rows("lines", queue=queue, now=self.now, most=_FIRST_READ)
        lines = _Lines(queue, found, _FIRST_READ)
        known = {row[0]: tuple(row) for row in await self._db.rows("levels", queue=queue)}
        limits = await self._limits(lines.all)
        gates = await gates_of(self._db, self.now, limits, lines.all)
        gate = gates()
        while isinstance(choice := _chosen(queue, lines, known, gate, self._room), Short):
            await self._read_more(queue, lines, choice.place)
            gate = gates()
        self.free_at.append(gate.free_at)
        await self._remember(queue, choice, gate, lines)
        if choice.numbers:
            self.claimed += await self._db.rows(
                "claim_these",
                numbers=choice.numbers,
                queue=queue,
                holder=self._want.holder,
                now=self.now,
            )

    async def _read_more(self, queue: str, lines: "_Lines", place: tuple[Any, ...]) -> None:
        priority, task, tenant, key = place
        limit = self._room + _MORE
        found = await self._db.rows(
            "waiting", queue=queue, priority=priority, tenant=tenant, key=key, task=task,
            now=self.now, limit=limit,
        )  # fmt: skip
        lines.put(place, [number for (number,) in found], limit)

    async def _remember(self, queue: str, choice: Choice, gate: Gate, lines: "_Lines") -> None:
        """Write down whose turn it is next, and forget turns that nobody needs any more."""
        served = {
            (level.priority, *line.lane): level.pass_of(line)
            for line, level in choice.served.items()
        }
        turns = [(*lane, passed) for lane, passed in served.items() if passed]
        if turns:
            columns = zip(*turns, strict=True)
            named = dict(zip(("priorities", "tenants", "keys", "passes"), columns, strict=True))
            await self._db.rows("turn_put", queue=queue, **named)
        kept = [(level.priority, _kept_from(choice, level)) for level in choice.levels]
        kept = [(priority, at) for priority, at in kept if at < FOR_EVER]
        if lines.has_turns or turns:
            await self._db.rows(
                "turns_forget", queue=queue, priorities=[p for p, _ in kept],
                ats=[at for _, at in kept],
            )  # fmt: skip
        moved = [level for level in choice.levels if choice.moves(level)]
        if moved:
            await self._db.rows(
                "level_put", queue=queue, priorities=[level.priority for level in moved],
                ats=[level.at for level in moved], starts=[level.starts for level in moved],
            )  # fmt: skip
        if gate.used:
            paces = [(name, *gate.pace(name)) for name in sorted(gate.used)]
            columns = zip(*paces, strict=True)
            named = dict(zip(("subjects", "dues", "ats"), columns, strict=True))
            await self._db.rows("pace_put", **named)


def _kept_from(choice: Choice, level: Level) -> int:
    """Return after which turn a level's lanes are remembered."""
    past = choice.past_of(level)
    if level.is_shared:
        return -1 if past is None else past
    return FOR_EVER


def _chosen(
    queue: str, lines: "_Lines", known: dict[int, Row], gate: Gate, room: int
) -> Choice | Short:
    """Choose from what was read, or say of which line more is needed."""
    view = View(queue, gate, lines.of, lines.waiting)
    before = {priority: Level(*row) for priority, row in known.items()}
    starts = sum(level.starts for level in before.values())
    try:
        return choose(levels_of(view, before, lines.streams), gate, starts, room)
    except Short as short:
        return short


class _Lines:
    """The lines of a queue as they were read, each with its first jobs."""

    def __init__(self, queue: str, rows: Sequence[Row], most: int) -> None:
        self._queue = queue
        self._numbers: dict[tuple[Any, ...], list[int]] = {}
        self._is_whole: dict[tuple[Any, ...], bool] = {}
        self._of: dict[tuple[int, str], list[tuple[Any, ...]]] = defaultdict(list)
        self.has_turns = False
        for priority, task, tenant, key, passed, numbers in rows:
            self.put((priority, task, tenant, key), numbers, most)
            first = numbers[0] if numbers else 0
            self._of[priority, task].append((tenant, key, passed, first, first or None))
            self.has_turns |= passed > 0
        for stream in self._of.values():
            stream.sort(key=lambda line: line[2:4])

    def put(self, place: tuple[Any, ...], numbers: list[int], most: int) -> None:
        """Note a line's jobs; as many as were asked for may not be all."""
        self._numbers[place] = numbers
        self._is_whole[place] = len(numbers) < most

    @property
    def streams(self) -> list[tuple[int, str]]:
        """The levels and tasks that have lines, highest priority first."""
        return sorted(self._of, key=lambda stream: (-stream[0], stream[1]))

    @property
    def all(self) -> list[Line]:
        """The lines as limits see them."""
        return [Line(self._queue, task, tenant, key) for _, task, tenant, key in self._numbers]

    def of(self, place: Place) -> Generator[Row, None, None]:
        """Give a stream's lines in the order of their turns."""
        yield from self._of[place["priority"], place["task"]]

    def waiting(self, place: Place, head: int) -> list[int]:
        """Give numbers of a line from one on; raise Short when they were not read."""
        line = (place["priority"], place["task"], place["tenant"], place["key"])
        numbers = self._numbers[line]
        rest = numbers[bisect_left(numbers, head) :]
        if not rest and not self._is_whole[line]:
            raise Short(line)
        return rest
