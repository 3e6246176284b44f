"""What a claim goes by: the limits that hold, what runs under them, and how fast it started."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from outlast.core.share import (
    NO_PACE,
    Bound,
    Gate,
    Held,
    Limits,
    Pace,
    Running,
    default_of,
    own_limit,
    subjects,
)
from outlast.ledger.postgres.connection import Session

LIMITS_READ: Final = 256  # from so many limits on, only those that are asked for are read
KINDS: Final = frozenset({"declared", "limit", "queue"})
Records = Mapping[tuple[str, str], str]


class Line(NamedTuple):
    """What the jobs of a line have in common, as limits see it."""

    queue: str
    task: str
    tenant: str
    key: str


def holding(records: Records) -> Limits:
    """Return what holds by these records."""
    return Limits(lambda subject: own_limit(subject, records) if records else None)


async def limits_of(db: Session, names: Iterable[str]) -> Limits:
    """Return what holds for these subjects."""
    wanted = set(names)
    queues = [name.removeprefix("queue:") for name in wanted if name.startswith("queue:")]
    asked = sorted(wanted | {default_of(name) for name in wanted})
    found = await db.rows("limits_of", subjects=asked, queues=queues)
    return holding({(kind, key): doc for kind, key, doc in found})


async def limits_of_lines(db: Session, lines: Iterable[Line]) -> Limits:
    """Return what holds for these lines."""
    return await limits_of(db, {name for line in lines for name in subjects(*line, is_shared=True)})


def bounds_of(line: Line, limits: Limits) -> list[Bound]:
    """Return what may stop a start from this line."""
    return limits.of_line(*line)[0]


async def gates_of(
    db: Session, now: int, limits: Limits, lines: Sequence[Line]
) -> Callable[[], Gate]:
    """Return how to make the gate for a claim from these lines."""
    bounds = dict(bound for line in lines for bound in bounds_of(line, limits))
    held: list[Held] = []
    if any(limit.concurrency is not None for limit in bounds.values()):
        held = [(q, task, tenant, key, n) for q, task, tenant, key, n in await db.rows("running")]
    paced = [name for name, limit in bounds.items() if limit.rate is not None]
    paces: dict[str, Pace] = {}
    if paced:
        paces = {name: Pace(due, at) for name, due, at in await db.rows("paces", subjects=paced)}
    return lambda: Gate(now, limits, Running(held.copy), lambda name: paces.get(name, NO_PACE))


def reach_beyond(records: Records) -> bool:
    """Whether some limit may hold in more queues than one."""
    return any(kind != "queue" and not name.startswith("queue:") for kind, name in records)
