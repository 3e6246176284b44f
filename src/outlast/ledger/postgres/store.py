"""The ledger in a PostgreSQL database."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from outlast.core.errors import UnavailableError
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
from outlast.core.ports import Clock, Entropy
from outlast.ledger.postgres import insert, read, schema, write
from outlast.ledger.postgres.address import Address
from outlast.ledger.postgres.batch import Batches
from outlast.ledger.postgres.bell import NotifyBell
from outlast.ledger.postgres.claim import Claims
from outlast.ledger.postgres.connection import BEAT_S, Session
from outlast.ledger.postgres.history import Histories
from outlast.ledger.postgres.pool import CLOSE_S, Pool
from outlast.ledger.postgres.within import identity_of, insert_within
from outlast.ledger.protocol import Capability, InsertWithin
from outlast.system import CLOCK, ENTROPY, new_id

T = TypeVar("T")
_WIDTH: Final = 2  # transactions of a kind at once: one is committed while the next one is made


def _ring_for(outcomes: Sequence[Inserted], bell: NotifyBell) -> None:
    if any(made.outcome in {"created", "replaced"} for made in outcomes):
        bell.ring()


class _Lines:
    """What one event loop has: connections, and the calls that wait to share them."""

    def __init__(self, address: Address, clock: Clock, entropy: Entropy, bell: NotifyBell) -> None:
        self._bell = bell
        self.pool = Pool(address, address.pool, clock, entropy)
        # Heartbeats wait for nobody, and not for long.
        self.heart = Pool(address, 1, clock, entropy, answer_s=BEAT_S)
        self.inserts: Batches[NewJob, Inserted] = Batches(self._insert, width=_WIDTH)
        self.commits: Batches[Transition, Verdict] = Batches(self._commit, width=_WIDTH)

    async def _insert(self, jobs: list[NewJob]) -> list[Inserted]:
        outcomes = await self.pool.run(lambda db: insert.insert(db, jobs, None))
        _ring_for(outcomes, self._bell)  # before the callers go on: a worker may wait for it
        return outcomes

    async def _commit(self, changes: list[Transition]) -> list[Verdict]:
        verdicts = await self.pool.run(lambda db: write.commit(db, changes, None))
        if any(verdict.accepted for verdict in verdicts):
            self._bell.ring()
        return verdicts

    async def finish(self) -> None:
        """Commit what was accepted."""
        await self.inserts.finish()
        await self.commits.finish()

    async def close(self, within_s: float) -> None:
        """Let go of the connections."""
        await asyncio.gather(self.pool.close(within_s), self.heart.close(within_s))


class PostgresLedger:
    """Keeps jobs in a database that any number of processes on any machines share.

    An answer means that the job is on the server's disk. The server's clock judges what is due.
    """

    capabilities = frozenset({Capability.DURABLE, Capability.SHARED, Capability.TRANSACTIONS})

    def __init__(self, url: str, *, clock: Clock = CLOCK, entropy: Entropy = ENTROPY) -> None:
        self._address = Address.read(url)
        self._clock = clock
        self._entropy = entropy
        self._lines: dict[asyncio.AbstractEventLoop, _Lines] = {}
        self._bell = NotifyBell(self._address, new_id(clock, entropy), self._run)
        self._claims = Claims()
        self._histories = Histories()
        self._closed = False
        self._identity: tuple[Any, ...] | None = None

    @property
    def address(self) -> Address:
        """Where the database is."""
        return self._address

    @property
    def bell(self) -> NotifyBell:
        return self._bell

    def _here(self) -> _Lines:
        """Return what the running loop has: a connection belongs to the loop that opened it."""
        loop = asyncio.get_running_loop()
        lines = self._lines.get(loop)
        if lines is None:
            if self._closed:
                raise UnavailableError("the ledger is closed")
            for old in [old for old in self._lines if old.is_closed()]:
                del self._lines[old]
            lines = self._lines[loop] = _Lines(
                self._address, self._clock, self._entropy, self._bell
            )
        return lines

    async def _run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        return await self._here().pool.run(work)

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        if not jobs:
            return []
        if now is None and not atomic:
            return await self._here().inserts.put(jobs)
        work = insert.insert_all if atomic else insert.insert
        outcomes = await self._run(lambda db: work(db, jobs, now))
        _ring_for(outcomes, self._bell)
        return outcomes

    async def within(self) -> InsertWithin:
        if self._identity is None:
            self._identity = await self._run(identity_of)
        return partial(insert_within, place=self._address.place, identity=self._identity)

    async def claim(self, want: Want, *, now: int | None = None) -> Leases:
        leases = await self._run(lambda db: self._claims.claim(db, want, now))
        if leases:
            self._bell.ring_later()
        return leases

    async def extend(
        self, holders: Sequence[str], ttl_us: int, *, now: int | None = None
    ) -> list[str]:
        lost = await self._here().heart.run(lambda db: write.extend(db, holders, ttl_us, now))
        if len(lost) < len(holders):
            self._bell.ring()
        return lost

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        if not transitions:
            return []
        if now is None:
            return await self._here().commits.put(transitions)
        verdicts = await self._run(lambda db: write.commit(db, transitions, now))
        if any(verdict.accepted for verdict in verdicts):
            self._bell.ring()
        return verdicts

    async def expired(self, limit: int, *, now: int | None = None) -> list[Lease]:
        leases, has_changed = await self._run(lambda db: write.expired(db, limit, now))
        if has_changed:
            self._bell.ring()
        return leases

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
        record = (kind, key, doc)
        done = await self._run(lambda db: write.put(db, record, version, ttl_us, now))
        if done:
            self._bell.ring()
        return done

    async def docs(self, kind: str, key: str | None = None) -> list[Doc]:
        return await self._run(lambda db: read.docs(db, kind, key))

    async def prune(
        self, before: int, limit: int, *, ids: Sequence[str] | None = None, now: int | None = None
    ) -> Pruned:
        gone = await self._run(lambda db: write.prune(db, before, limit, ids, now))
        if gone != Pruned():
            self._bell.ring()
        return gone

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._run(lambda db: read.get(db, ids))

    async def find(self, where: Filter, page: Page) -> list[JobRecord]:
        return await self._run(lambda db: read.find(db, where, page))

    async def count(self, where: Filter, by: str) -> dict[tuple[str, ...], int]:
        return await self._run(lambda db: read.count(db, where, by))

    async def history(
        self,
        job_id: str | None,
        *,
        after: int = 0,
        limit: int = 1_000,
        type: str | None = None,  # noqa: A002
    ) -> list[Event]:
        if job_id is None:
            return await self._run(lambda db: self._histories.of_all(db, after, limit, type))
        return await self._run(lambda db: read.history(db, job_id, after, limit, type))

    async def now(self) -> int:
        async def asked(db: Session) -> int:
            (now,) = await db.sole("instant")
            return int(now)

        return await self._run(asked)

    async def migrate(self, *, finish: bool = False) -> int:
        """Apply the migrations that the database lacks; return its version."""
        return await self._run(lambda db: schema.migrate(db, self._address.place, finish=finish))

    async def check(self) -> dict[str, str]:
        """Return the database's facts; raise when it is not reached or not migrated."""
        facts = await self._run(lambda db: schema.facts(db, self._address.place))
        if facts["pooler"] == "alone" and self._address.direct:
            facts["pooler"] = "with direct"
        return facts

    async def close(self) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        lines, until = self._lines.get(loop), loop.time() + CLOSE_S
        if lines is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await lines.finish()
        await self._bell.end(until - loop.time())
        self._closed = True
        if lines is not None:
            await lines.close(max(0.0, until - loop.time()))
        self._lines.clear()
