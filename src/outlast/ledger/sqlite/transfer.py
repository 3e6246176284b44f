"""A ledger in a SQLite file as a move reads it, stops it, and makes it anew beside its place."""

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import apsw

from outlast.core.errors import ConflictError, UnavailableError
from outlast.core.ports import Clock
from outlast.ledger.move import COPYING, MOVED, Batch, Mark
from outlast.ledger.rows import Row
from outlast.ledger.sqlite.bell import SocketBell, meeting_place
from outlast.ledger.sqlite.connection import (
    fold_log,
    one,
    rows,
    schema_version,
    set_schema_version,
    sole,
)
from outlast.ledger.sqlite.lane import Lane
from outlast.ledger.sqlite.statements import fragments, migrations
from outlast.ledger.sqlite.write import extend
from outlast.ledger.steps import newest
from outlast.system import new_id

T = TypeVar("T")
_SCHEME: Final = "sqlite:///"


class _File:
    """A ledger's file; what only reads waits for no writer, and keeps none waiting."""

    def __init__(self, place: str, clock: Clock) -> None:
        self.place = place
        self._path = place.removeprefix(_SCHEME)
        self._clock = clock
        self._lanes: dict[bool, Lane] = {}

    async def _run(self, work: Callable[[apsw.Connection, int], T], *, writes: bool = False) -> T:
        if writes not in self._lanes:
            self._lanes[writes] = self._open(writes=writes)
        return await self._lanes[writes].run(work)

    def _open(self, *, writes: bool) -> Lane:
        raise NotImplementedError

    async def records(self, table: str, after: tuple[str, str], limit: int) -> list[Row]:
        binds = {"first": after[0], "second": after[1], "limit": limit}
        statement = fragments("move_dump")[table]
        return await self._run(lambda db, _: rows(db, statement, _needed(statement, binds)))

    async def tally(self, table: str) -> Row:
        statement = fragments("move_dump")[f"tally_{table}"]
        return await self._run(lambda db, _: sole(db, statement))

    async def close(self) -> None:
        while self._lanes:
            await self._lanes.popitem()[1].close()


class SqliteSource(_File):
    """The file that is moved away; others have it open and use it."""

    def __init__(self, place: str, clock: Clock) -> None:
        super().__init__(place, clock)
        self._mover: IO[str] | None = None
        self._bell: SocketBell | None = None

    @property
    def bell(self) -> SocketBell:
        if self._bell is None:
            self._bell = SocketBell(self._path, new_id)
        return self._bell

    def _open(self, *, writes: bool) -> Lane:
        if not _is_there(self._path):
            raise UnavailableError(f"there is no ledger {self._path}", hint="give another --from")
        return Lane(self._path, self._clock, writes=writes, huge=True, after_commit=self.bell.ring)

    async def hold(self) -> None:
        self._mover = _lock_file(self._path)
        try:
            fcntl.flock(self._mover, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(
                f"another process is moving the ledger {self.place}", hint="let it end"
            ) from error

    async def mark(self) -> Mark | None:
        return await self._run(_mark)

    async def begin(self, mark: Mark) -> None:
        def work(db: apsw.Connection, _now: int) -> None:
            stages = fragments("move_stages")
            db.execute(stages[COPYING])
            db.execute(stages["note"], mark._asdict())

        await self._run(work, writes=True)

    async def enter(self, mark: Mark, stage: str) -> None:
        def work(db: apsw.Connection, _now: int) -> None:
            stages = fragments("move_stages")
            if stage == MOVED:
                db.execute(stages["lifted"])
            db.execute(stages[stage])
            db.execute(stages["stage"], {"id": mark.id, "stage": stage})

        await self._run(work, writes=True)

    async def abandon(self) -> None:
        def work(db: apsw.Connection, _now: int) -> None:
            db.execute(fragments("move_stages")["lifted"])
            db.execute(fragments("move_stages")["abandoned"])

        await self._run(work, writes=True)

    async def jobs(self, part: str, after: int, limit: int) -> Batch:
        return await self._run(lambda db, _: _batch(db, _numbers(db, part, after, limit)))

    async def changed(self, after: int, limit: int) -> list[int]:
        return await self._run(lambda db, _: _numbers(db, "changed", after, limit))

    async def counters(self) -> tuple[int, int]:
        jobs, events = await self._run(lambda db, _: sole(db, fragments("move_dump")["counters"]))
        return jobs, events

    async def holders(self) -> list[str]:
        statement = fragments("move_dump")["holders"]
        found = await self._run(lambda db, now: rows(db, statement, {"now": now}))
        return [holder for (holder,) in found]

    async def give_up(self, holders: Sequence[str]) -> None:
        await self._run(lambda db, now: extend(db, holders, 0, now), writes=True)

    async def hold_jobs(self, holders: Sequence[str]) -> bool:
        binds = {"holders": json.dumps(list(holders))}
        statement = fragments("move_dump")["hold_jobs"]
        return await self._run(lambda db, _: one(db, statement, binds)) is not None

    async def close(self) -> None:
        await super().close()
        if self._mover is not None:
            self._mover.close()
        if self._bell is not None:
            self._bell.close()


class SqliteTarget(_File):
    """The file that is made: beside its place, until it is whole."""

    def __init__(self, place: str, clock: Clock) -> None:
        super().__init__(place, clock)
        self._aside = f"{self._path}-moving"

    def _open(self, *, writes: bool) -> Lane:
        here = self._aside if _is_there(self._aside) else self._path
        return Lane(here, self._clock, writes=writes, huge=True, after_commit=lambda: None)

    async def refuse_if_taken(self) -> None:
        for there in (self._path, f"{self._path}-wal"):
            if _is_there(there):
                raise ConflictError(
                    f"{there} is there already, and a ledger is moved to an empty place only",
                    hint="give another --to, or remove that file if nothing in it is needed",
                )

    async def prepare(self, mark: Mark, source: str) -> int:
        _make(self._aside)
        last = await self._run(lambda db, _: _prepared(db, mark, source), writes=True)
        if last is None:
            await self.close()
            _make(self._aside, anew=True)
            last = await self._run(lambda db, _: _prepared(db, mark, source), writes=True)
        return last or 0

    async def clear(self) -> None:
        await self._run(lambda db, _: db.execute(fragments("move_load")["clear"]), writes=True)

    async def forget(self, numbers: Sequence[int]) -> None:
        binds = {"numbers": json.dumps(list(numbers))}
        await self._run(
            lambda db, _: db.execute(fragments("move_load")["forget"], binds), writes=True
        )

    async def load(self, batch: Batch) -> Batch:
        def work(db: apsw.Connection, _now: int) -> Batch:
            parts = fragments("move_load")
            db.executemany(parts["job"], batch.jobs)
            db.executemany(parts["event"], batch.events)
            return _batch(db, batch.numbers)

        return await self._run(work, writes=True)

    async def load_records(self, table: str, rows: Sequence[Row]) -> None:
        await self._run(
            lambda db, _: db.executemany(fragments("move_load")[table], rows), writes=True
        )

    async def set_counters(self, jobs: int, events: int) -> None:
        binds = {"jobs": jobs, "events": events}
        await self._run(
            lambda db, _: db.execute(fragments("move_load")["counters"], binds), writes=True
        )

    async def put_in_place(self, mark: Mark) -> None:
        if _is_there(self._aside):
            origin = await self._run(lambda db, _: one(db, fragments("move_load")["origin"]))
            if origin is None or origin[0] != mark.id:
                raise ConflictError(f"{self._aside} belongs to another move")
            await self.close()
            fold_log(self._aside)
            _put(self._aside, self._path)
        elif not _is_there(self._path):
            raise UnavailableError(f"neither {self._path} nor {self._aside} is there any more")


def _lock_file(path: str) -> IO[str]:
    return (meeting_place(path) / "move.lock").open("w")


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _make(path: str, *, anew: bool = False) -> None:
    if not Path(path).parent.is_dir():
        raise UnavailableError(
            f"can't make the ledger {path}: its folder does not exist", hint="make the folder"
        )
    for suffix in ("", "-wal", "-shm") if anew else ():
        Path(path + suffix).unlink(missing_ok=True)
    Path(path).touch(mode=0o644)


def _put(aside: str, path: str) -> None:
    """Give a whole file its name, for good; what others have put there is not touched."""
    try:
        os.link(aside, path)
    except FileExistsError as error:
        if not Path(path).samefile(aside):
            raise ConflictError(
                f"all has moved, but {path} was made by somebody else meanwhile",
                hint="remove it, and run the same command again",
            ) from error
    Path(aside).unlink()
    handle = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _needed(statement: str, binds: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in binds.items() if f":{name}" in statement}


def _mark(db: apsw.Connection, _now: int) -> Mark | None:
    try:
        row = one(db, fragments("move_stages")["mark"])
    except apsw.SQLError:
        return None  # no move has begun
    return None if row is None else Mark(*row)


def _numbers(db: apsw.Connection, part: str, after: int, limit: int) -> list[int]:
    binds = {"after": after, "limit": limit}
    return [number for (number,) in rows(db, fragments("move_dump")[part], binds)]


def _batch(db: apsw.Connection, numbers: list[int]) -> Batch:
    parts, binds = fragments("move_dump"), {"numbers": json.dumps(numbers)}
    return Batch(numbers, rows(db, parts["job"], binds), rows(db, parts["event"], binds))


def _prepared(db: apsw.Connection, mark: Mark, source: str) -> int | None:
    """Return the last ended job that this move has brought; None: another move was here."""
    parts = fragments("move_load")
    if (version := schema_version(db)) == 0:
        for step in migrations():
            db.execute(step.script)
            set_schema_version(db, step.number)
        db.execute(parts["note"], {"id": mark.id, "place": source})
    elif version != newest(migrations()) or one(db, parts["origin"]) != (mark.id,):
        return None
    return int(sole(db, fragments("move_dump")["last"])[0])
