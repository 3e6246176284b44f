"""Who starts next: the lines of a queue in the order of their turns, read as far as is needed.

A line is the waiting jobs of a queue that have priority, tenant, key and task in common, so that
the same limits hold for all of them. A store gives lines and jobs as a `View` asks for them.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import Any, Final

from outlast.core.share import AGED_EVERY, Gate
from outlast.ledger.rows import Row

_SHARED: Final = 2  # so many lanes make a level one to share
Lane = tuple[str, str]
Place = dict[str, Any]  # the queue, priority and task of a stream; of a line, tenant and key too


@dataclass(slots=True)
class View:
    """One queue at the instant of a claim, and what was found to be empty on the way.

    `lines` gives a stream's lines in the order of their turns: tenant, key, turn, the turn's second
    part, and the number of the first job (None: it has none). `waiting` gives numbers of a line,
    smallest first, from one on.
    """

    queue: str
    gate: Gate
    lines: Callable[[Place], Generator[Row, None, None]]
    waiting: Callable[[Place, int], list[int]]
    stale: "list[Line]" = field(default_factory=list)


@dataclass(slots=True)
class Level:
    """One priority of a queue: whose turn it is in it."""

    priority: int
    at: int = 0
    starts: int = 0
    passes: dict[Lane, int] = field(default_factory=dict)  # of those that were served now
    streams: "list[Stream]" = field(default_factory=list)
    is_shared: bool = False  # two lanes or more wait
    is_waiting: bool = False
    has_past: bool = False  # turns are kept that nobody needs any more
    has_changed: bool = False

    def turn(self, line: "Line") -> int:
        """Return where a line stands: never before the level, so that nobody saves up turns."""
        turn = self.passes.get(line.lane, line.passed)
        return turn if turn > self.at else self.at  # noqa: FURB136 - asked for at every start

    def first(self) -> "Line | None":
        """Return the line whose turn it is."""
        if len(self.streams) == 1:
            return self.streams[0].first()
        firsts = [line for stream in self.streams if (line := stream.first()) is not None]
        return min(firsts, key=lambda line: (self.turn(line), line.head), default=None)

    def look(self) -> None:
        """Read as much as tells whether anybody waits here, and whether more than one lane does."""
        lanes: set[Lane] = set()
        for stream in self.streams:
            while len(lanes) < _SHARED and (line := stream.read_one()) is not None:
                lanes.add(line.lane)
        self.is_waiting, self.is_shared = bool(lanes), len(lanes) >= _SHARED

    def serve(self, line: "Line") -> int:
        """Take the line's first job, and move its lane on if there is anybody to share with."""
        self.has_changed = True
        if self.is_shared:
            self.at = self.turn(line)
            self.passes[line.lane] = self.at + line.step
        return line.stream.pop(line)

    def pass_of(self, line: "Line") -> int:
        """Return the turn to remember for a line that was served."""
        passed = self.passes.get(line.lane, 0)
        return passed if passed > self.at else 0


class Line:
    """Jobs that the same limits hold for; only as many of them are read as are needed."""

    __slots__ = (
        "_numbers",
        "bounds",
        "head",
        "is_read",
        "lane",
        "passed",
        "step",
        "stream",
    )

    def __init__(self, stream: "Stream", row: Row) -> None:
        tenant, key, passed, _, first = row
        self.stream = stream
        self.lane = (tenant, key)
        self.passed: int = passed
        limits = stream.view.gate.limits
        self.bounds, self.step = limits.of_line(stream.queue, stream.task, tenant, key)
        self.head: int = first or 0  # the number of its first job; 0: it has none
        self.is_read = True  # else no job of it has a smaller number than that
        self._numbers: list[int] = []

    @property
    def place(self) -> Place:
        """Return what its jobs have in common, as a store asks for them."""
        tenant, key = self.lane
        return {**self.stream.place, "tenant": tenant, "key": key}

    def advance(self) -> None:
        """Leave the first job behind; who is next is read when that is asked for."""
        self.is_read = bool(self._numbers)
        self.head = self._numbers.pop() if self._numbers else self.head + 1

    def read(self) -> None:
        """Read who is next."""
        self._numbers = self.stream.view.waiting(self.place, self.head)[::-1]
        self.head = self._numbers.pop() if self._numbers else 0
        self.is_read = True


class Stream:
    """The lines of one level and task, in the order of their turns."""

    def __init__(self, view: View, level: Level, task: str) -> None:
        self.view = view
        self.queue, self.task = view.queue, task
        self._level = level
        self.place: Place = {"queue": view.queue, "priority": level.priority, "task": task}
        self._common = (f"queue:{view.queue}", f"task:{task}")
        self._unread = view.lines(self.place)
        self._next = next(self._unread, None)
        self._ready: list[tuple[int, int, Lane, Line]] = []  # a heap by turn and number

    def close(self) -> None:
        """Read no further."""
        self._unread.close()

    def read_one(self) -> Line | None:
        """Read the next line that has jobs."""
        while self._next is not None:
            line = Line(self, self._next)
            self._next = next(self._unread, None)
            self._level.has_past |= line.passed > 0
            if line.head:
                heappush(self._ready, (self._level.turn(line), line.head, line.lane, line))
                return line
            self.view.stale.append(line)
        return None

    def first(self) -> Line | None:
        """Return the line whose turn it is; those that a limit stops are out for this claim."""
        while True:
            while self._next is not None and self._may_come_first(self._next):
                self.read_one()
            if not self._ready:
                return None
            entry = self._ready[0]
            line = entry[-1]
            if not line.is_read:
                line.read()
                self._settle(line)
                continue
            if self._level.turn(line) > entry[0]:
                self._settle(line)
                continue
            stopper = self.view.gate.stopped_by(line.bounds)
            if stopper is None:
                return line
            if stopper in self._common:  # it stops all the others too
                self._ready, self._next = [], None
                return None
            heappop(self._ready)

    def _may_come_first(self, row: Row) -> bool:
        # As it was written down, because the rows behind it are in that order.
        if not self._ready:
            return True
        turn, number, *_ = self._ready[0]
        return (max(row[2], self._level.at), row[3]) < (turn, number)

    def _settle(self, line: Line) -> None:
        """Put the first line where it belongs after it, or another of its lane, was served."""
        if line.head:
            heapreplace(self._ready, (self._level.turn(line), line.head, line.lane, line))
        else:
            heappop(self._ready)

    def pop(self, line: Line) -> int:
        """Take the first job of the first line; return its number."""
        number = line.head
        line.advance()
        self._settle(line)
        return number


@dataclass(slots=True)
class Choice:
    """Whose turn it was: the numbers of the jobs that start, in order, and from which lines."""

    levels: list[Level]
    numbers: list[int] = field(default_factory=list)
    served: dict[Line, Level] = field(default_factory=dict)
    several: bool = False  # more than one level waited

    def past_of(self, level: Level) -> int | None:
        """Return up to which turn a level's lanes need not be remembered; None: nothing to do."""
        if not level.is_shared:
            return FOR_EVER if level.has_past else None
        return level.at if level.has_changed else None

    def moves(self, level: Level) -> bool:
        """Whether the level's own turn is to be written down."""
        return level.has_changed and (level.is_shared or self.several)


FOR_EVER: Final = 2**62


def levels_of(view: View, known: dict[int, Level], streams: list[tuple[int, str]]) -> list[Level]:
    """Return the levels that have lines, in the order given, each looked at."""
    found: dict[int, Level] = {}
    for priority, task in streams:
        level = found.setdefault(priority, known.get(priority) or Level(priority))
        level.streams.append(Stream(view, level, task))
    for level in found.values():
        level.look()
    return list(found.values())


def _highest(levels: list[Level]) -> tuple[Level, Line] | tuple[None, None]:
    for level in levels:
        if (line := level.first()) is not None:
            return level, line
    return None, None


def _oldest(levels: list[Level]) -> tuple[Level, Line] | tuple[None, None]:
    firsts = ((level, line) for level in levels if (line := level.first()) is not None)
    return min(firsts, key=lambda one: one[1].head, default=(None, None))


def choose(levels: list[Level], gate: Gate, starts: int, room: int) -> Choice:
    """Let one job start after the other, each of whoever's turn it is, as long as there is room.

    `levels` come highest first; `starts` counts the queue's starts so far, for ageing.
    """
    choice = Choice(levels, several=sum(level.is_waiting for level in levels) > 1)
    while len(choice.numbers) < room:
        aged = choice.several and starts % AGED_EVERY == AGED_EVERY - 1
        level, line = _oldest(levels) if aged else _highest(levels)
        if level is None or line is None:
            break
        gate.take(line.bounds)
        choice.numbers.append(level.serve(line))
        choice.served[line] = level
        level.starts += choice.several
        starts += choice.several
    return choice
