"""The shortest way to say what happens to a ledger: fixed IDs and instants, no clock, no dice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from outlast.core.job import (
    Event,
    Filter,
    Inserted,
    JobRecord,
    Lease,
    Leases,
    NewJob,
    Page,
    Verdict,
    Want,
)
from outlast.core.retry import Backoff
from outlast.ledger.protocol import Ledger

NOW: Final = 1_800_000_000_000_000
TTL: Final = 30_000_000
ERROR: Final[dict[str, object]] = {
    "type": "E",
    "message": "m",
    "retryable": True,
    "fingerprint": "f1",
}
AT_ONCE: Final = Backoff(base_us=0)
ALL: Final = Page(limit=1_000, oldest_first=True)


def job_id(n: int) -> str:
    """Make the n-th ID."""
    return f"00000000-0000-7000-8000-{n:012x}"


def job(n: int, **fields: Any) -> NewJob:
    """Make the n-th job."""
    return replace(NewJob(id=job_id(n), task="t"), **fields)


async def submit(ledger: Ledger, *jobs: NewJob, now: int = NOW) -> list[Inserted]:
    """Insert jobs at a fixed instant."""
    return await ledger.insert(jobs, now=now)


async def hire(ledger: Ledger, *names: str, now: int = NOW) -> None:
    """Register workers, each with a lease."""
    for name in names or ("w1",):
        await ledger.put("worker", name, "{}", ttl_us=TTL, now=now)


async def claim(
    ledger: Ledger,
    holder: str = "w1",
    limit: int = 100,
    queues: tuple[str, ...] = ("default",),
    now: int = NOW,
) -> Leases:
    """Claim at a fixed instant."""
    return await ledger.claim(Want(holder, queues, limit), now=now)


async def held(ledger: Ledger, *jobs: NewJob, holder: str = "w1", now: int = NOW) -> Leases:
    """Insert jobs and let a worker claim them."""
    await hire(ledger, holder, now=now)
    await submit(ledger, *jobs, now=now)
    return await claim(ledger, holder, now=now)


async def apply(ledger: Ledger, *changes: Any, now: int = NOW) -> list[Verdict]:
    """Commit transitions; None, where `core` says that nothing is to be done, is a mistake here."""
    return await ledger.commit(changes, now=now)


async def row(ledger: Ledger, n: int) -> JobRecord:
    """Return the n-th job, which must exist."""
    (found,) = await ledger.get([job_id(n)])
    assert found is not None
    return found


async def rows(ledger: Ledger, where: Filter = Filter()) -> list[JobRecord]:  # noqa: B008 - frozen
    """Return all jobs that match, oldest first."""
    return await ledger.find(where, ALL)


async def history(ledger: Ledger, n: int) -> list[Event]:
    """Return the n-th job's events."""
    return await ledger.history(job_id(n))


def ids(found: Sequence[JobRecord | Lease | Inserted]) -> list[str]:
    """Return the IDs, in order."""
    return [one.id for one in found]


def job_ids(*numbers: int) -> list[str]:
    """Return the n-th IDs, in order."""
    return [job_id(n) for n in numbers]
