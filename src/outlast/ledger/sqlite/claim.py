"""The claim: who may start now, in which order, decided and done under one write lock.

What is kept between claims is kept for each line (`0005_lines.sql`), so that a claim costs by what
it takes and by how many lines stand before that, and nothing by how many jobs wait in them.
"""

import json
from typing import Any, Final

import apsw

from outlast.core.job import Lease, Leases, Want
from outlast.core.share import (
    AGED_EVERY,
    NO_LIMIT,
    NO_PACE,
    Gate,
    Limit,
    Pace,
    chosen,
    default_of,
    subjects,
)
from outlast.ledger.sqlite.connection import one, rows
from outlast.ledger.sqlite.line import Level, Line, Row, Stream, View
from outlast.ledger.sqlite.statements import sql

_STALE_MAX: Final = 16  # lines without a job that a claim which takes nothing may leave
_LIMITS_READ: Final = 256  # from so many limits on, each is looked up when it is asked for
_FOR_EVER: Final = 2**62
_NOBODY: Final = (None, None)


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
        tail = f'"worker": {json.dumps(want.holder)}}}'
        db.executemany(
            sql("insert_event"),
            [
                (r[0], r[1], "started", now, f'{{"attempt": {r[7]}, "token": {r[6]}, {tail}')
                for r in claimed
            ],
        )
        db.executemany(sql("pace_put"), [(name, *gate.pace(name)) for name in gate.used])
    leases = Leases(lease_of(row[2:]) for row in claimed)
    if len(leases) < want.limit:
        leases.note(gate.free_at, now)
    return leases


def lease_of(row: Row) -> Lease:
    """Make a lease of the columns that the claim and the reaper read."""
    (
        id_,
        task,
        queue,
        args,
        token,
        attempt,
        max_attempts,
        lost,
        run,
        priority,
        timeout_us,
        cancel_requested,
        key,
        tenant,
        holder,
        submitted_at,
        deadline_at,
    ) = row
    return Lease(
        id_,
        task,
        queue,
        # A damaged text fails its own job, not the claim of its neighbours.
        args.decode("utf-8", "surrogateescape"),
        token,
        attempt,
        max_attempts,
        lost,
        run,
        priority,
        timeout_us,
        bool(cancel_requested),
        key,
        tenant,
        holder,
        submitted_at,
        deadline_at,
    )


def _gate(db: apsw.Connection, now: int) -> Gate:
    known = _found(rows(db, sql("limits"), {"most": _LIMITS_READ}))

    def limit_of(subject: str) -> Limit:
        if len(known) < _LIMITS_READ:
            return chosen(subject, known) if known else NO_LIMIT
        return looked_up(db, subject)

    def running() -> dict[str, int]:
        counts: dict[str, int] = {}
        for *parts, number in db.execute(sql("running")):
            for subject in subjects(*parts):
                counts[subject] = counts.get(subject, 0) + number
        return counts

    def pace_of(subject: str) -> Pace:
        row = one(db, sql("pace"), {"subject": subject})
        return NO_PACE if row is None else Pace(*row)

    return Gate(now, limit_of, running, pace_of)


def looked_up(db: apsw.Connection, subject: str) -> Limit:
    """Return what holds for one subject."""
    binds = {"subject": subject, "default": default_of(subject)}
    return chosen(subject, _found(rows(db, sql("limits_of"), binds)))


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
        self._view = View(db, queue, now, gate)
        self._binds = {"holder": holder, "now": now}
        self._room = room

    def take(self) -> list[Row]:
        """Lease what may start, in order."""
        lines = rows(self._db, sql("lines"), {"queue": self._queue})
        if len(lines) == 1 and lines[0][-1] == 0:
            place = dict(zip(("priority", "tenant", "key", "task"), lines[0], strict=False))
            if self._gate.is_open(
                subjects(self._queue, place["task"], place["tenant"], place["key"])
            ):
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
            numbers = self._choose(levels, starts)
        finally:
            for level in levels:
                for stream in level.streams:
                    stream.close()
        if not numbers:
            return []
        place = {number: n for n, number in enumerate(numbers)}
        binds = {**self._binds, "numbers": json.dumps(numbers)}
        return sorted(rows(self._db, sql("claim_these"), binds), key=lambda row: place[row[0]])

    def _choose(self, levels: list[Level], starts: int) -> list[int]:
        """Return the numbers of the jobs that start, in order, and remember whose turn it was."""
        several = sum(level.is_waiting for level in levels) > 1
        numbers: list[int] = []
        served: dict[Line, Level] = {}
        while len(numbers) < self._room:
            aged = several and starts % AGED_EVERY == AGED_EVERY - 1
            firsts = (
                (level, line) for level in levels if (line := level.first()) is not None
            )  # lazily, because without ageing the highest level is enough
            level, line = (
                min(firsts, key=lambda one: one[1].head, default=_NOBODY)
                if aged
                else next(firsts, _NOBODY)
            )
            if level is None or line is None:
                break
            self._gate.take(line.names)
            numbers.append(level.serve(line))
            served[line] = level
            level.starts += several
            starts += several
        self._remember(levels, served, several=several)
        return numbers

    def _levels(self) -> tuple[list[Level], int]:
        """Return the levels that have lines, highest first, and how many starts were counted."""
        known = {
            row[0]: Level(*row) for row in rows(self._db, sql("levels"), {"queue": self._queue})
        }
        found: dict[int, Level] = {}
        for priority, task in rows(self._db, sql("streams"), {"queue": self._queue}):
            level = found.setdefault(priority, known.get(priority) or Level(priority))
            level.streams.append(Stream(self._view, level, task))
        for level in found.values():
            level.look()
        return list(found.values()), sum(level.starts for level in known.values())

    def _remember(self, levels: list[Level], served: dict[Line, Level], *, several: bool) -> None:
        """Write down whose turn it is next, and remove the lines in which nobody waits."""
        forgotten = False
        turns = [
            {**line.place, "pass": level.pass_of(line), "head": line.head}
            for line, level in served.items()
        ]
        self._db.executemany(sql("line_turn"), turns)
        for level in levels:
            past = None if level.is_shared else _FOR_EVER
            if level.is_shared and level.has_changed:
                past = level.at
            if past is not None and (level.is_shared or level.has_past):
                forgotten = True
                for stream in level.streams:
                    self._db.execute(sql("turns_forget"), {**stream.place, "at": past})
            if level.has_changed and (level.is_shared or several):
                binds = {"queue": self._queue, "priority": level.priority}
                state = {"at": level.at, "starts": level.starts}
                self._db.execute(sql("level_put"), {**binds, **state})
        if served or forgotten or len(self._view.stale) > _STALE_MAX:
            empty = [line.place for line in (*self._view.stale, *served) if not line.head]
            self._db.executemany(sql("line_leave"), empty)


def _number(row: Row) -> int:
    number: int = row[0]
    return number
