"""The claim: who may start now, in which order, decided and done under one write lock.

What is kept between claims is kept for each line (`0005_lines.sql`), so that a claim costs by what
it takes and by how many lines stand before that, and nothing by how many jobs wait in them.
"""

import json
from collections.abc import Generator
from typing import Any, Final

import apsw

from outlast.core.job import Lease, Leases, Want
from outlast.core.share import NO_PACE, Gate, Limit, Limits, Pace, Running, own_limit
from outlast.ledger import rows as rows_of
from outlast.ledger.rows import Row
from outlast.ledger.sqlite.connection import one, rows
from outlast.ledger.sqlite.statements import sql
from outlast.ledger.turns import Choice, Level, Place, View, choose, levels_of

_STALE_MAX: Final = 16  # lines without a job that a claim which takes nothing may leave
_LIMITS_READ: Final = 256  # from so many limits on, each is looked up when it is asked for
_MORE: Final = 64  # how many numbers of a line are read at once, after the first
_ARGS: Final = 3  # the place of the arguments in a lease's row


def claim(db: apsw.Connection, want: Want, now: int) -> Leases:
    """Lease runnable jobs queue by queue, each with its `started` event."""
    if one(db, sql("holder_alive"), {"holder": want.holder}) is None:
        return Leases()
    paused = {key for (key,) in db.execute(sql("paused"))}
    gate = _gate(db, now)
    claimed: list[Row] = []
    for queue in want.queues:
        if queue in paused:
            continue
        room = want.limit - len(claimed)
        if room <= 0:
            break
        claimed += _Hand(db, queue, want.holder, room, now, gate).take()
    if claimed:
        worker = json.dumps(want.holder)
        events = [
            (r[0], r[1], "started", f'{{"attempt": {r[7]}, "token": {r[6]}, "worker": {worker}}}')
            for r in claimed
        ]
        db.execute(sql("insert_events"), {"batch": json.dumps(events), "now": now})
        db.executemany(sql("pace_put"), [(name, *gate.pace(name)) for name in gate.used])
    leases = Leases(lease_of(row[2:]) for row in claimed)
    if len(leases) < want.limit:
        leases.note(gate.free_at, now)
    return leases


def lease_of(row: Row) -> Lease:
    """Make a lease; a damaged text fails its own job, not the claim of its neighbours."""
    args = row[_ARGS].decode("utf-8", "surrogateescape")
    return rows_of.lease_of((*row[:_ARGS], args, *row[_ARGS + 1 :]))


def _gate(db: apsw.Connection, now: int) -> Gate:
    known = _found(rows(db, sql("limits"), {"most": _LIMITS_READ}))

    def own_of(subject: str) -> Limit | None:
        if len(known) < _LIMITS_READ:
            return own_limit(subject, known) if known else None
        return looked_up(db, subject)

    def pace_of(subject: str) -> Pace:
        row = one(db, sql("pace"), {"subject": subject})
        return NO_PACE if row is None else Pace(*row)

    return Gate(now, Limits(own_of), Running(lambda: rows(db, sql("running"))), pace_of)


def looked_up(db: apsw.Connection, subject: str) -> Limit | None:
    """Return what was said of one subject."""
    return own_limit(subject, _found(rows(db, sql("limits_of"), {"subject": subject})))


def _found(records: list[Row]) -> dict[tuple[str, str], str]:
    return {(kind, key): doc for kind, key, doc in records}


class _Hand:
    """One queue's part of a claim."""

    def __init__(
        self, db: apsw.Connection, queue: str, holder: str, room: int, now: int, gate: Gate
    ) -> None:
        self._db = db
        self._queue = queue
        self._gate = gate
        self._view = View(queue, gate, self._lines, self._waiting)
        self._binds = {"holder": holder, "now": now}
        self._room = room

    def take(self) -> list[Row]:
        """Lease what may start, in order."""
        lines = rows(self._db, sql("lines"), {"queue": self._queue})
        if len(lines) == 1 and lines[0][-1] == 0:
            place = dict(zip(("priority", "tenant", "key", "task"), lines[0], strict=False))
            names = (place["task"], place["tenant"], place["key"])
            bounds, _ = self._gate.limits.of_line(self._queue, *names)
            if not bounds:
                return self._take_all(place)
        return self._take_shared() if lines else []

    def _take_all(self, place: dict[str, Any]) -> list[Row]:
        """Lease from the only line there is, which nothing limits: one statement.

        It stays when nobody waits in it, so that the next submit has nothing to write there.
        """
        binds = {**self._binds, **place, "queue": self._queue, "limit": self._room}
        taken = rows(self._db, sql("claim"), binds)
        return sorted(taken, key=_number)  # RETURNING promises no order

    def _take_shared(self) -> list[Row]:
        """Lease from several lines: one start after the other, each to whoever's turn it is."""
        levels, starts = self._levels()
        try:
            choice = choose(levels, self._gate, starts, self._room)
        finally:
            for level in levels:
                for stream in level.streams:
                    stream.close()
        self._remember(choice)
        if not choice.numbers:
            return []
        place = {number: n for n, number in enumerate(choice.numbers)}
        binds = {**self._binds, "numbers": json.dumps(choice.numbers)}
        return sorted(rows(self._db, sql("claim_these"), binds), key=lambda row: place[row[0]])

    def _lines(self, place: Place) -> Generator[Row, None, None]:
        """Read a stream's lines.

        An open statement holds an old state of the file, and so blocks writing until it is closed.
        """
        found = self._db.execute(sql("stream"), {**place, "now": self._binds["now"]})
        try:
            yield from found
        finally:
            found.close()

    def _waiting(self, place: Place, head: int) -> list[int]:
        binds = {**place, "now": self._binds["now"], "head": head, "limit": _MORE}
        return [number for (number,) in rows(self._db, sql("waiting"), binds)]

    def _levels(self) -> tuple[list[Level], int]:
        """Return the levels that have lines, highest first, and how many starts were counted."""
        known = {
            row[0]: Level(*row) for row in rows(self._db, sql("levels"), {"queue": self._queue})
        }
        streams = [(p, t) for p, t in rows(self._db, sql("streams"), {"queue": self._queue})]
        starts = sum(level.starts for level in known.values())
        return levels_of(self._view, known, streams), starts

    def _remember(self, choice: Choice) -> None:
        """Write down whose turn it is next, and remove the lines in which nobody waits."""
        forgotten = False
        turns = [
            {**line.place, "pass": level.pass_of(line), "head": line.head}
            for line, level in choice.served.items()
        ]
        self._db.executemany(sql("line_turn"), turns)
        for level in choice.levels:
            past = choice.past_of(level)
            if past is not None:
                forgotten = True
                for stream in level.streams:
                    self._db.execute(sql("turns_forget"), {**stream.place, "at": past})
            if choice.moves(level):
                binds = {"queue": self._queue, "priority": level.priority}
                state = {"at": level.at, "starts": level.starts}
                self._db.execute(sql("level_put"), {**binds, **state})
        if choice.served or forgotten or len(self._view.stale) > _STALE_MAX:
            stale = (*self._view.stale, *choice.served)
            self._db.executemany(sql("line_leave"), [line.place for line in stale if not line.head])


def _number(row: Row) -> int:
    number: int = row[0]
    return number
