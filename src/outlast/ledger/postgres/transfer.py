"""A ledger in PostgreSQL as a move reads it, stops it, and makes it anew in a schema of its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from outlast.core.errors import ConflictError, UnavailableError
from outlast.core.ports import Clock
from outlast.ledger.move import COPYING, MOVED, Batch, Mark
from outlast.ledger.postgres import schema, write
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.bell import NotifyBell
from outlast.ledger.postgres.connection import Session, close, connect
from outlast.ledger.postgres.pool import Pool
from outlast.ledger.postgres.statements import fragments
from outlast.ledger.rows import Row
from outlast.system import ENTROPY, new_id

T = TypeVar("T")
_ROOM: Final = "outlast"
_ASIDE: Final = "outlast_moving"
_TABLES: Final = {
    "idempotency": ("tenant", "key", "fingerprint", "job_id", "submitted_at", "expires_at"),
    "doc": ("kind", "key", "version", "doc", "lease_until"),
    "level": ("queue", "priority", "at", "starts"),
    "lane": ("queue", "priority", "tenant", "key", "pass"),
    "pace": ("subject", "due", "at"),
}
_EVENT: Final = ("position", "job", "seq", "type", "at", "data")
_JOB: Final = (
    "number", "id", "status", "queue", "priority", "attempt", "max_attempts", "token", "lost",
    "run", "seq", "holder", "submitted_at", "run_at", "started_at", "finished_at", "expires_at",
    "cancel_requested_at", "timeout_us", "discarded", "tenant", "task", "concurrency_key", "key",
    "tags", "notify", "args", "progress", "result", "error", "artifacts", "deadline_us",
    "deadline_at", "cursor", "sole_key",
)  # fmt: skip
_DISCARDED: Final = _JOB.index("discarded")


class _Database:
    """A ledger's tables, in the schema that is theirs at present."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._address = Address.read(url)
        self.place = self._address.place
        self._pool = Pool(self._address, 1, clock, ENTROPY)
        self._room = _ROOM

    async def _run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        async def patiently(db: Session) -> T:
            async with db.transaction():
                await db.script(fragments("move_load")["session"])
                return await work(db)

        return await self._pool.run(patiently)

    async def _rows(self, db: Session, file: str, name: str, /, **values: object) -> list[Row]:
        statement = fragments(file)[name].replace(f"{_ROOM}.", f"{self._room}.")
        return [tuple(row) for row in await db.rows_of(statement, values)]

    async def _asked(self, file: str, name: str, /, **values: object) -> list[Row]:
        return await self._run(lambda db: self._rows(db, file, name, **values))

    async def _batch(self, db: Session, numbers: list[int]) -> Batch:
        jobs = await self._rows(db, "move_dump", "job", numbers=numbers)
        return Batch(numbers, jobs, await self._rows(db, "move_dump", "event", numbers=numbers))

    async def records(self, table: str, after: tuple[str, str], limit: int) -> list[Row]:
        first, second = after
        return await self._asked("move_dump", table, first=first, second=second, limit=limit)

    async def tally(self, table: str) -> Row:
        return (await self._asked("move_dump", f"tally_{table}"))[0]

    async def _has(self, room: str) -> bool:
        return bool((await self._asked("move_load", "is_there", room=room))[0][0])

    async def close(self) -> None:
        await self._pool.close()


class PostgresSource(_Database):
    """The database that is moved away; others are connected and use it."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self._mover: Session | None = None
        self._bell: NotifyBell | None = None

    @property
    def bell(self) -> NotifyBell:
        if self._bell is None:
            self._bell = NotifyBell(self._address, new_id(), self._pool.run)
        return self._bell

    async def hold(self) -> None:
        self._mover = await connect(self._address, direct=True)
        held = await self._mover.rows_of(fragments("move_stages")["hold"], {})
        if not held[0][0]:
            raise ConflictError(
                f"another process is moving the ledger {self.place}", hint="let it end"
            )

    async def mark(self) -> Mark | None:
        async def work(db: Session) -> Mark | None:
            if await schema.version_of(db) == 0:
                raise UnavailableError(
                    f"there is no ledger in {self.place}", hint="give another --from"
                )
            found = await schema.mark_of(db)
            return None if found is None else Mark(*found)

        return await self._run(work)

    async def begin(self, mark: Mark) -> None:
        async def work(db: Session) -> None:
            await db.script(fragments("move_stages")[COPYING])
            await self._rows(db, "move_stages", "note", **mark._asdict())

        await self._run(work)

    async def enter(self, mark: Mark, stage: str) -> None:
        async def work(db: Session) -> None:
            stages = fragments("move_stages")
            if stage == MOVED:
                await db.script(stages["lifted"])
            await db.script(stages[stage])
            await self._rows(db, "move_stages", "stage", id=mark.id, stage=stage)

        await self._run(work)
        self.bell.ring()

    async def abandon(self) -> None:
        async def work(db: Session) -> None:
            await db.script(fragments("move_stages")["lifted"])
            await db.script(fragments("move_stages")["abandoned"])

        await self._run(work)
        self.bell.ring()

    async def jobs(self, part: str, after: int, limit: int) -> Batch:
        async def work(db: Session) -> Batch:
            found = await self._rows(db, "move_dump", part, after=after, limit=limit)
            return await self._batch(db, [number for (number,) in found])

        return await self._run(work)

    async def changed(self, after: int, limit: int) -> list[int]:
        found = await self._asked("move_dump", "changed", after=after, limit=limit)
        return [number for (number,) in found]

    async def counters(self) -> tuple[int, int]:
        ((jobs, events),) = await self._asked("move_dump", "counters")
        return jobs, events

    async def holders(self) -> list[str]:
        return [holder for (holder,) in await self._asked("move_dump", "holders")]

    async def give_up(self, holders: Sequence[str]) -> None:
        await self._run(lambda db: write.extend(db, holders, 0, None))
        self.bell.ring()

    async def hold_jobs(self, holders: Sequence[str]) -> bool:
        return bool(await self._asked("move_dump", "hold_jobs", holders=list(holders)))

    async def close(self) -> None:
        if self._bell is not None:
            await self._bell.end()
        if self._mover is not None:
            await close(self._mover)
        await super().close()


class PostgresTarget(_Database):
    """The database in which a ledger is made."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self._room = _ASIDE

    async def refuse_if_taken(self) -> None:
        if await self._has(_ROOM):
            raise ConflictError(
                f"{self.place} has a schema outlast already, and a ledger is moved to an empty "
                "place only",
                hint="give another --to, or drop that schema if nothing in it is needed",
            )

    async def prepare(self, mark: Mark, source: str) -> int:
        async def work(db: Session) -> int:
            stages = fragments("move_load")
            (is_there,) = (await self._rows(db, "move_load", "is_there", room=_ASIDE))[0]
            if is_there and await self._rows(db, "move_load", "origin") != [(mark.id,)]:
                await db.script(stages["drop"])
                is_there = False
            if not is_there:
                await schema.migrate(db, self.place)
                await db.script(stages["aside"])
                await self._rows(db, "move_load", "note", id=mark.id, place=source)
            return int((await self._rows(db, "move_dump", "last"))[0][0])

        return await self._run(work)

    async def clear(self) -> None:
        script = fragments("move_load")["clear"].replace(f"{_ROOM}.", f"{_ASIDE}.")
        await self._run(lambda db: db.script(script))

    async def forget(self, numbers: Sequence[int]) -> None:
        await self._asked("move_load", "forget", numbers=list(numbers))

    async def load(self, batch: Batch) -> Batch:
        async def work(db: Session) -> Batch:
            jobs = [
                (*job[:_DISCARDED], bool(job[_DISCARDED]), *job[_DISCARDED + 1 :])
                for job in batch.jobs
            ]
            await self._copy(db, "job", _JOB, jobs)
            await self._copy(db, "event", _EVENT, batch.events)
            return await self._batch(db, batch.numbers)

        return await self._run(work)

    async def load_records(self, table: str, rows: Sequence[Row]) -> None:
        name = "turn" if table == "lane" else table
        await self._run(lambda db: self._copy(db, name, _TABLES[table], rows))

    async def _copy(
        self, db: Session, table: str, columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        await db.connection.copy_records_to_table(
            table, schema_name=_ASIDE, columns=columns, records=rows
        )

    async def set_counters(self, jobs: int, events: int) -> None:
        await self._asked("move_load", "counters", jobs=jobs, events=events)

    async def put_in_place(self, mark: Mark) -> None:
        if await self._has(_ASIDE):
            if await self._asked("move_load", "origin") != [(mark.id,)]:
                raise ConflictError(f"what is in {self.place} belongs to another move")
            if await self._has(_ROOM):
                raise ConflictError(
                    f"all has moved, but {self.place} got a schema outlast from somebody else "
                    "meanwhile",
                    hint="drop it, and run the same command again",
                )
            await self._run(lambda db: db.script(fragments("move_load")["in_place"]))
        self._room = _ROOM
        if not await self._has(_ROOM):
            raise UnavailableError(f"what was moved is not in {self.place} any more")
