"""Dead letters by error: how many there are, and how fast they grow.

What makes a group is the error's fingerprint alone, whatever the task: it is also what people
redrive and discard by.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic_core import from_json

from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import HOUR, PAGE_MAX
from outlast.core.status import Status
from outlast.ledger import Ledger

GROWTH_US: Final = HOUR
_PAGES_MAX: Final = 4
_GROUPS_MAX: Final = 100
DEAD: Final = Filter(status=Status.FAILED, discarded=False)


@dataclass(frozen=True, slots=True)
class Group:
    """The dead letters of one error."""

    fingerprint: str
    count: int
    newest: JobRecord | None  # None: it was settled meanwhile
    oldest: JobRecord | None

    def told(
        self, error_of: Callable[[str], object], time_of: Callable[[int | None], str | None]
    ) -> dict[str, Any]:
        """Return it as the HTTP contract shows it."""
        newest, oldest = self.newest, self.oldest
        return {
            "fingerprint": self.fingerprint,
            "count": self.count,
            "error": error_of(newest.error) if newest and newest.error else None,
            "task": newest.task if newest else None,
            "newest_id": newest.id if newest else None,
            "newest_at": time_of(newest.finished_at) if newest else None,
            "oldest_at": time_of(oldest.finished_at) if oldest else None,
        }


async def groups_of(ledger: Ledger, where: Filter = DEAD) -> list[Group]:
    """Return the most frequent errors of some dead letters."""
    counts = await ledger.count(where, "error")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_GROUPS_MAX]
    groups: list[Group] = []
    for (fingerprint,), number in ranked:
        of_error = replace(where, fingerprint=fingerprint)
        newest = await ledger.find(of_error, Page(limit=1))
        oldest = await ledger.find(of_error, Page(limit=1, oldest_first=True))
        groups.append(
            Group(fingerprint, number, *(found[0] if found else None for found in (newest, oldest)))
        )
    return groups


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
    where = replace(DEAD, tenant=tenant)
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
    """Group deaths by error, the group that grows fastest first."""
    groups: dict[str, list[Death]] = defaultdict(list)
    for death in deaths:
        groups[death.fingerprint].append(death)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].fingerprint))
