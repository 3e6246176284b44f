"""A schedule: when it ticks, what is to be done about it now, and the job that a tick stands for.

All of it is arithmetic on what the record says, so every node comes to the same answer.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Final, cast

from outlast.core.errors import CapabilityError, CorruptError
from outlast.core.identity import uuid7
from outlast.core.instant import to_rfc3339
from outlast.core.job import NewJob
from outlast.core.limits import (
    CATCH_UP_MAX,
    DURATION_MAX_US,
    KEY_TTL_US,
    MINUTE,
    SCHEDULE_NAME_CHARS_MAX,
)
from outlast.core.status import Status
from outlast.core.timing import Every, Timing, timing_of
from outlast.core.unique import Sole

KIND: Final = "schedule"  # of the records in the ledger
FORMAT: Final = 1  # a record of a later format is left to the nodes that know it
_NAME_SIGNS: Final = frozenset("._:-")
# What a tick itself decides about its job; all else comes from the record.
_OF_A_TICK: Final = frozenset(
    {"id", "key", "fingerprint", "key_ttl_us", "delay_us", "run_at_us", "tenant"}
)
_OF_A_JOB: Final = frozenset(item.name for item in fields(NewJob)) - _OF_A_TICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A record: what was said, the job that follows from it, and how far its ticks have come."""

    name: str
    spec: Mapping[str, Any]  # in the words of the HTTP contract
    job: Mapping[str, Any]  # fields of a `NewJob`
    tenant: str = ""
    paused: bool = False
    source: str = "person"  # or `code`
    edited: bool = False  # a person has changed what the code says
    changed_at: int = 0
    since_at: int = 0  # no tick before it counts: there was no such schedule, or it was paused
    next_at: int | None = None  # the tick that is dealt with next
    ahead_until: int | None = None  # what a clock that was ahead has dealt with before its time
    last_at: int | None = None
    last_job_id: str | None = None
    skipped_at: int | None = None  # the newest missed tick that got no job
    error: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # what a later release wrote here

    @property
    def key(self) -> str:
        """The key of its record."""
        return key_of(self.tenant, self.name)

    @property
    def is_stopped(self) -> bool:
        """Whether it can't tick: the task has changed, and the arguments don't fit any more."""
        return self.error is not None and self.error.get("stops") is True

    @property
    def timing(self) -> Timing:
        """When it ticks; raises InvalidInputError when this release can't read that."""
        return timing_of(self.spec)


def key_of(tenant: str, name: str) -> str:
    """Return the key of a schedule's record; a name has no slash."""
    return f"{tenant}/{name}" if tenant else name


def is_name(name: object) -> bool:
    """Whether a schedule can be called so: it stands in addresses and in keys.

    >>> is_name("reports.nightly"), is_name("a/b"), is_name("")
    (True, False, False)
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= SCHEDULE_NAME_CHARS_MAX
        and all(sign.isascii() and (sign.isalnum() or sign in _NAME_SIGNS) for sign in name)
        and name.strip(".") != ""
    )


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is due; `until` is when the next tick will be."""

    until: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The ticks up to this state get no job."""

    then: Schedule


@dataclass(frozen=True, slots=True)
class Fire:
    """A tick is due: first submit its job, and when the ledger has it, keep the next state."""

    job: NewJob
    then: Schedule


def decide(schedule: Schedule, now: int) -> Rest | Move | Fire:
    """Say what to do about a schedule: one tick at a time, until there is nothing but rest.

    Only the tick that the record names is ever fired. So two nodes that read the same version of
    it fire the same tick, even if their releases or zone data disagree about the one after it.
    """
    if schedule.paused or schedule.is_stopped:
        return Rest()
    timing, tick = schedule.timing, schedule.next_at
    following = timing.after(now)
    if following is not None and (tick is None or following < tick):
        return Move(_brought_back(schedule, timing, now))
    if tick is None or tick > now:
        return Rest(tick)
    first = _first_due(schedule, timing, tick, now)
    if first != tick:
        skipped = timing.before(first - 1 if first is not None else now)
        return Move(replace(schedule, next_at=first, skipped_at=skipped))
    following = timing.after(tick)
    ahead = schedule.ahead_until
    then = replace(
        schedule,
        next_at=following,
        ahead_until=None if following is None or following >= (ahead or 0) else ahead,
        last_at=tick,
        error=None,
    )
    return Fire(job_of(schedule, timing, tick), then)


def _brought_back(schedule: Schedule, timing: Timing, now: int) -> Schedule:
    """Set the next tick of a new record, or of one that a clock has pushed too far ahead.

    The ticks that came meanwhile are dealt with once more: what has a job is known by its key.
    """
    if schedule.next_at is None:
        return replace(schedule, next_at=timing.after(now), since_at=schedule.since_at or now)
    since = min(now, max(schedule.since_at, now - timing.missed_after_us - 1))
    ahead = max(schedule.next_at, schedule.ahead_until or 0)
    return replace(schedule, next_at=timing.after(since), ahead_until=ahead)


def _first_due(schedule: Schedule, timing: Timing, tick: int, now: int) -> int | None:
    """Return the first tick that is to be fired, when `tick` is due: by the policy for missed."""
    if now - tick <= timing.missed_after_us:
        return tick
    timely = timing.after(now - timing.missed_after_us - 1)
    ahead = schedule.ahead_until
    if ahead is not None and tick < ahead:
        # It was dealt with when the clock was ahead, as a missed one if need be: not twice.
        return ahead if timely is None else min(timely, ahead)
    if timing.missed == "all":
        return _bounded(timing, tick, now)
    if timing.missed == "skip" or (timely is not None and timely <= now):
        return timely
    return timing.before(now)


def _bounded(timing: Timing, tick: int, now: int) -> int:
    """Leave out all but the newest missed ticks."""
    closest = timing.rhythm.every_us if isinstance(timing.rhythm, Every) else MINUTE
    if now - tick < CATCH_UP_MAX * closest:
        return tick
    oldest = now
    for _ in range(CATCH_UP_MAX):
        before = timing.before(oldest - 1)
        if before is None or before <= tick:
            return tick
        oldest = before
    return oldest


def job_of(schedule: Schedule, timing: Timing, tick: int) -> NewJob:
    """Make the job of a tick: the same ID, key and time on every node, whenever it is made.

    The key is remembered for as many ticks as can be made up for, and at least for a week. Beyond
    that the ID, which follows from the tick as well, is refused for as long as the job is kept.
    """
    following = timing.after(tick)
    gap = 0 if following is None else following - tick
    return replace(
        manual_job(schedule, id_of(schedule, tick)),
        key=f"{KIND}:{schedule.name}@{to_rfc3339(tick)}",
        key_ttl_us=min(max(KEY_TTL_US, CATCH_UP_MAX * gap), DURATION_MAX_US),
        run_at_us=run_at_of(schedule, timing, tick),
    )


def manual_job(schedule: Schedule, job_id: str) -> NewJob:
    """Make a job as the ticks do, without being one."""
    kept = {name: value for name, value in schedule.job.items() if name in _OF_A_JOB}
    if kept.get("sole") is not None:
        states = tuple(map(Status, kept["sole"]["states"]))
        kept["sole"] = Sole(**{**kept["sole"], "states": states})
    return NewJob(id=job_id, tenant=schedule.tenant, **kept)


def job_fields(job: NewJob) -> dict[str, Any]:
    """Return what a record keeps of a job that was checked, as it will be read again."""
    kept = {name: value for name, value in asdict(job).items() if name in _OF_A_JOB}
    return cast("dict[str, Any]", json.loads(json.dumps(kept)))


def id_of(schedule: Schedule, tick: int) -> str:
    """Return the ID of a tick's job."""
    return uuid7(tick, _dice(schedule, tick))


def run_at_of(schedule: Schedule, timing: Timing, tick: int) -> int:
    """Return when a tick's job may start: the tick and its share of the jitter."""
    return tick + _dice(schedule, tick) % (timing.jitter_us + 1)


def _dice(schedule: Schedule, tick: int) -> int:
    return int.from_bytes(sha256(f"{schedule.key}@{tick}".encode()).digest()[:8])


_KEPT: Final = tuple(
    item.name for item in fields(Schedule) if item.name not in {"name", "tenant", "more"}
)


def to_doc(schedule: Schedule) -> str:
    """Write a record; what a later release has added to it stays."""
    kept = {name: getattr(schedule, name) for name in _KEPT}
    return json.dumps({"format": FORMAT, **schedule.more, **kept}, separators=(",", ":"))


def from_doc(key: str, text: str) -> Schedule:
    """Read a record; raise CorruptError when it is none, CapabilityError when it is a later one."""
    tenant, _, name = key.rpartition("/")
    try:
        found = json.loads(text)
        if found["format"] > FORMAT:
            raise CapabilityError(
                f"schedule {name}: its record has format {found['format']}, expected {FORMAT}",
                hint="upgrade this node",
            )
        kept = {part: found.pop(part) for part in _KEPT if part in found}
        instants = [kept.get(part) for part in ("next_at", "last_at")]
        sound = all(at is None or isinstance(at, int) for at in instants)
        if sound and isinstance(kept["spec"], dict) and isinstance(kept["job"], dict):
            return Schedule(name=name, tenant=tenant, more=found, **kept)
        error: Exception = TypeError("a part of it has another type than expected")
    except (KeyError, TypeError, ValueError) as caught:
        error = caught
    raise CorruptError(
        f"schedule {name}: its record can't be read: {error}", hint="remove or put it again"
    ) from error
