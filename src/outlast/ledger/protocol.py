"""The ledger's protocol: small, batched, and without a decision of its own."""

from collections.abc import Coroutine, Sequence
from enum import StrEnum
from typing import Any, Protocol

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
from outlast.ledger.within.connected import Connected


class Capability(StrEnum):
    """What a ledger can do beyond the common part; tests assert both having and lacking it."""

    DURABLE = "durable"  # what was acknowledged survives the process and a power cut
    SHARED = "shared"  # several processes may open it at once
    TRANSACTIONS = "transactions"  # it is a `Host`: jobs come in by a user's own transaction, too


class InsertWithin(Protocol):
    """An insert in the transaction of a user's connection; on one that blocks, waits for nothing.

    Without an open transaction it makes one for itself, where the connection would commit each
    statement.
    """

    def __call__(
        self, connection: Connected, jobs: Sequence[NewJob], *, atomic: bool = False
    ) -> Coroutine[Any, Any, list[Inserted]]: ...


class Host(Protocol):
    """What a ledger with `Capability.TRANSACTIONS` has besides."""

    async def within(self) -> InsertWithin:
        """Return the insert for connections to this very database."""
        ...


class Bell(Protocol):
    """Wake-ups between processes: lossy by design, because every waiter also sweeps."""

    def ring(self) -> None:
        """Tell every listener that something changed. Never blocks, never raises."""
        ...

    async def wait(self, timeout: float) -> None:
        """Return when the bell rang since the last wait, or after `timeout` seconds."""
        ...

    def close(self) -> None: ...


class Ledger(Protocol):
    """Where jobs are kept. `now` None means the store's own clock; tests pass microseconds."""

    capabilities: frozenset[Capability]

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        """Store jobs durably, one outcome each; `atomic` stores none when one is refused."""
        ...

    async def claim(self, want: Want, *, now: int | None = None) -> Leases:
        """Lease runnable jobs to a registered worker, within the limits at every instant.

        In a queue: highest priority first (every tenth start goes to whoever waits longest), then
        in turns between tenants and keys, then oldest first. See `docs/limits-and-fairness.md`.
        """
        ...

    async def extend(
        self, holders: Sequence[str], ttl_us: int, *, now: int | None = None
    ) -> list[str]:
        """Renew the leases of these workers; return the ones that were given up for dead.

        A `ttl_us` of 0 gives a worker's leases up at once.
        """
        ...

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        """Compare and set each transition with its event, in one transaction; a verdict each."""
        ...

    async def expired(self, limit: int, *, now: int | None = None) -> list[Lease]:
        """Return leases whose worker's time is up; from then on that worker can't renew."""
        ...

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
        """Write (or, with None, remove) a small record if it still has `version` (0: is new)."""
        ...

    async def docs(self, kind: str, key: str | None = None) -> list[Doc]:
        """Return the records of a kind, or the one with this key, ordered by key."""
        ...

    async def prune(
        self, before: int, limit: int, *, ids: Sequence[str] | None = None, now: int | None = None
    ) -> Pruned:
        """Forget up to `limit` jobs that ended before this instant (of these IDs), with history.

        Leaves a tombstone each; forgets as many keys, tombstones and uploads past their time.
        """
        ...

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """Return the jobs with these IDs, in order."""
        ...

    async def find(self, where: Filter, page: Page) -> list[JobRecord]:
        """Return one page of the jobs that match."""
        ...

    async def count(self, where: Filter, by: str) -> dict[tuple[str, ...], int]:
        """Count the matching jobs by `"queue"` (and status), `"error"` or `""` (one number)."""
        ...

    async def history(
        self,
        job_id: str | None,
        *,
        after: int = 0,
        limit: int = 1_000,
        type: str | None = None,  # noqa: A002
    ) -> list[Event]:
        """Return a job's events after a sequence number, or all jobs' after a position."""
        ...

    async def now(self) -> int:
        """Return the store's own clock, by which it judges what is due."""
        ...

    async def migrate(self, *, finish: bool = False) -> int:
        """Bring the schema up to this release; return its version.

        `finish` also takes away what only an older release used: none of its processes may run.
        """
        ...

    async def check(self) -> dict[str, str]:
        """Return facts about the store's health; raise UnavailableError when it has none."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and let go of every file and connection."""
        ...

    @property
    def bell(self) -> Bell: ...
