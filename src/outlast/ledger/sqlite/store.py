"""The ledger in one SQLite file."""

from collections.abc import Sequence

import apsw

from outlast.core.errors import CorruptError
from outlast.core.job import (
    Doc,
    Event,
    Filter,
    Inserted,
    JobRecord,
    Lease,
    Leases,
    NewJob,
    Page,
    Pruned,
    Transition,
    Verdict,
    Want,
)
from outlast.core.ports import Clock
from outlast.ledger.protocol import Capability, InsertWithin
from outlast.ledger.sqlite import insert, read, write
from outlast.ledger.sqlite.bell import SocketBell
from outlast.ledger.sqlite.claim import claim
from outlast.ledger.sqlite.connection import (
    refuse_if_moved,
    schema_version,
    set_schema_version,
    structure,
)
from outlast.ledger.sqlite.lane import Lane
from outlast.ledger.sqlite.reserve import Reserve
from outlast.ledger.sqlite.statements import migrations
from outlast.ledger.sqlite.within import within
from outlast.ledger.steps import Step, following, newest, refuse_unfit
from outlast.ledger.within import Connected
from outlast.system import CLOCK, new_id


class SqliteLedger:
    """Keeps jobs in one file that any number of processes on this machine may share.

    One thread writes, in group commits with `synchronous=FULL`: an answer means that the job
    survives a power cut. Another thread reads, so that reading never waits for a disk.
    """

    capabilities = frozenset({Capability.DURABLE, Capability.SHARED, Capability.TRANSACTIONS})

    def __init__(self, path: str, *, clock: Clock = CLOCK) -> None:
        self._path = path
        self._clock = clock
        self._bell = SocketBell(path, new_id)
        self._reserve = Reserve(path)
        try:
            self._writer = self._write_lane()
        except BaseException:
            self._bell.close()
            raise
        self._reader = Lane(path, clock, writes=False, after_commit=lambda: None)

    def _write_lane(self, *, huge: bool = False) -> Lane:
        return Lane(
            self._path,
            self._clock,
            writes=True,
            after_commit=self._bell.ring,
            make_room=self._reserve.spend,
            is_full=self._reserve.is_spent,
            huge=huge,
        )

    @property
    def path(self) -> str:
        """The file's path."""
        return self._path

    @property
    def bell(self) -> SocketBell:
        return self._bell

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        if len(jobs) == 1 and now is None:
            return [await self._writer.run_alike(self._insert, jobs[0], vital=False)]
        work = self._insert_all if atomic else self._insert
        return await self._writer.run(
            lambda db, clock: work(db, jobs, clock if now is None else now), vital=False
        )

    def _insert(self, db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
        return self._guarded(insert.insert(db, jobs, now))

    def _insert_all(self, db: apsw.Connection, jobs: Sequence[NewJob], now: int) -> list[Inserted]:
        return self._guarded(insert.insert_all(db, jobs, now))

    def _guarded(self, outcomes: list[Inserted]) -> list[Inserted]:
        """Let no new job into a disk whose reserve was spent; a repeated one is none."""
        if any(outcome.outcome == "created" for outcome in outcomes):
            self._reserve.guard()
        return outcomes

    async def within(self) -> InsertWithin:
        return self._insert_within

    async def _insert_within(
        self, connection: Connected, jobs: Sequence[NewJob], *, atomic: bool = False
    ) -> list[Inserted]:
        work = self._insert_all if atomic else self._insert
        with within(connection, self._path, self._bell.ring) as db:
            return work(db, jobs, self._clock.now_us())

    async def claim(self, want: Want, *, now: int | None = None) -> Leases:
        return await self._writer.run(
            lambda db, clock: claim(db, want, clock if now is None else now)
        )

    async def extend(
        self, holders: Sequence[str], ttl_us: int, *, now: int | None = None
    ) -> list[str]:
        return await self._writer.run(
            lambda db, clock: write.extend(db, holders, ttl_us, clock if now is None else now)
        )

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        if len(transitions) == 1 and now is None:
            return [await self._writer.run_alike(write.commit, transitions[0])]
        return await self._writer.run(
            lambda db, clock: write.commit(db, transitions, clock if now is None else now)
        )

    async def expired(self, limit: int, *, now: int | None = None) -> list[Lease]:
        return await self._writer.run(
            lambda db, clock: write.expired(db, limit, clock if now is None else now)
        )

    async def put(
        self,
        kind: str,
        key: str,
        doc: str | None,
        *,
        version: int | None = None,
        ttl_us: int | None = None,
        now: int | None = None,
    ) -> bool:
        return await self._writer.run(
            lambda db, clock: write.put(
                db, (kind, key, doc), version, ttl_us, clock if now is None else now
            )
        )

    async def docs(self, kind: str, key: str | None = None) -> list[Doc]:
        return await self._reader.run(lambda db, _: read.docs(db, kind, key))

    async def prune(
        self, before: int, limit: int, *, ids: Sequence[str] | None = None, now: int | None = None
    ) -> Pruned:
        return await self._writer.run(
            lambda db, clock: write.prune(db, before, limit, ids, clock if now is None else now)
        )

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._reader.run(lambda db, _: read.get(db, ids))

    async def find(self, where: Filter, page: Page) -> list[JobRecord]:
        return await self._reader.run(lambda db, _: read.find(db, where, page))

    async def count(self, where: Filter, by: str) -> dict[tuple[str, ...], int]:
        return await self._reader.run(lambda db, _: read.count(db, where, by))

    async def history(
        self,
        job_id: str | None,
        *,
        after: int = 0,
        limit: int = 1_000,
        type: str | None = None,  # noqa: A002
    ) -> list[Event]:
        return await self._reader.run(lambda db, _: read.history(db, job_id, after, limit, type))

    async def now(self) -> int:
        return await self._reader.run(lambda _, clock: clock)

    async def migrate(self, *, finish: bool = False) -> int:
        """Apply the migrations that the file lacks, each in one transaction; return its version.

        Steps that take something away are left for `finish`, but in a file that is new.
        """
        # Whoever finds nothing to do takes no write lock: it may be the caller's own connection's.
        version = await self._reader.run(self._version)
        finish = finish or version == 0

        def next_of(version: int) -> Step | None:
            return following(migrations(), version, self._path, finish=finish)

        def one(db: apsw.Connection, clock: int) -> int:
            version = self._version(db, clock)
            if (step := next_of(version)) is None:
                return version
            db.execute(step.script)
            set_schema_version(db, step.number)
            return step.number

        if next_of(version) is not None:
            lane = self._write_lane(huge=True)
            try:
                while next_of(version) is not None:
                    version = await lane.run(one)
            finally:
                await lane.close()
        refuse_unfit(migrations(), version, self._path)
        return version

    async def check(self) -> dict[str, str]:
        """Check the file's structure and return its facts; raise when it is damaged."""
        return await self._reader.run(lambda db, _: _facts(db, self._path))

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()
        self._bell.close()

    def _version(self, db: apsw.Connection, _clock: int) -> int:
        refuse_if_moved(db, self._path, "moved")
        return schema_version(db)


def _facts(db: apsw.Connection, path: str) -> dict[str, str]:
    verdict, mode = structure(db)
    if verdict != "ok":
        raise CorruptError(f"the ledger {path} is damaged: {verdict}", hint="restore a backup")
    refuse_if_moved(db, path, "moved")
    steps, version = migrations(), schema_version(db)
    refuse_unfit(steps, version, path)
    return {
        "store": "sqlite",
        "path": path,
        "schema": str(version),
        "schema_newest": str(newest(steps)),
        "journal_mode": mode,
        "sqlite": apsw.sqlite_lib_version(),
    }
