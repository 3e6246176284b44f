"""How fast the dead letters grow, and by which errors."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import HOUR, PAGE_MAX
from outlast.core.status import Status
from outlast.ledger import Ledger

GROWTH_US: Final = HOUR
_PAGES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Death:
    """What is counted of a dead letter."""

    id: str
    queue: str
    task: str
    kind: str  # the error's type
    fingerprint: str


async def recent_deaths(ledger: Ledger, now_us: int, tenant: str | None = None) -> list[Death]:
    """Return the dead letters of the last hour, among the 2,000 that were submitted last."""
    where = Filter(tenant=tenant, status=Status.FAILED, discarded=False)
    found: list[Death] = []
    after: int | None = None
    for _ in range(_PAGES_MAX):
        jobs = await ledger.find(where, Page(limit=PAGE_MAX, after=after))
        found += [_death(job) for job in jobs if (job.finished_at or 0) > now_us - GROWTH_US]
        if len(jobs) < PAGE_MAX:
            break
        after = jobs[-1].number
    return found


def _death(job: JobRecord) -> Death:
    error: dict[str, Any] = from_json(job.error) if job.error else {}
    kind = str(error.get("type", "unknown"))
    return Death(job.id, job.queue, job.task, kind, str(error.get("fingerprint", kind)))


def fastest(deaths: list[Death]) -> list[list[Death]]:
    """Group deaths by task and error, the group that grows fastest first."""
    groups: dict[tuple[str, str], list[Death]] = defaultdict(list)
    for death in deaths:
        groups[death.task, death.fingerprint].append(death)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].task))
