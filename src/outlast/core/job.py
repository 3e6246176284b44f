"""What is known of a job: as submitted, as stored, as leased to a worker, and each event of it."""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from outlast.core.limits import ATTEMPTS_DEFAULT, KEY_TTL_US
from outlast.core.status import Status
from outlast.core.unique import Sole


@dataclass(slots=True, kw_only=True)  # not frozen: that would take thrice as long on each submit
class NewJob:
    """A job to be inserted; delays are relative, because the store adds its own now."""

    id: str
    task: str
    args: str = "{}"  # a JSON object
    tenant: str = ""
    queue: str = "default"
    priority: int = 0
    delay_us: int = 0
    run_at_us: int | None = None
    max_attempts: int = ATTEMPTS_DEFAULT
    timeout_us: int | None = None
    expires_in_us: int | None = None
    deadline_us: int | None = None  # for the whole job, from its submit or redrive
    concurrency_key: str | None = None
    tags: str = "[]"  # a JSON array of strings
    notify: str = "[]"  # a JSON array of targets
    key: str | None = None  # the idempotency key
    fingerprint: str = ""  # of the request, to tell a repeat from a reuse of the key
    key_ttl_us: int = KEY_TTL_US
    sole: Sole | None = None  # which other jobs are the same intention
    max_depth: int | None = None  # refuse when as many of the queue's jobs already wait

    def delay_from(self, now: int) -> int:
        """Return how long from now it is to wait, in microseconds."""
        return self.delay_us if self.run_at_us is None else max(0, self.run_at_us - now)


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of one insert.

    It was `created`; or it is a `duplicate` of its key or ID, a `conflict` (its key was used for
    another request), or its queue is `full`, or its tenant over its `quota`; or one like it was
    there: `existing`, `replaced` or `rejected`.
    """

    id: str
    outcome: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job's row; folding its history gives the same (see `core.fold`)."""

    id: str
    number: int  # the order of insertion, which is the order of claiming
    tenant: str
    task: str
    queue: str
    status: Status
    priority: int
    attempt: int
    max_attempts: int
    token: int
    lost: int
    run: int
    seq: int  # the sequence number of its last event; also its version
    args: str
    submitted_at: int
    run_at: int
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    cancel_requested_at: int | None
    timeout_us: int | None
    deadline_us: int | None
    deadline_at: int | None
    holder: str | None
    concurrency_key: str | None
    key: str | None
    tags: str
    notify: str
    progress: str | None
    result: str | None
    error: str | None
    artifacts: str
    cursor: str | None  # how far a resumable job is; changes without an event
    sole_key: str | None = None  # names the intention that it is the one job of


class Lease(NamedTuple):
    """A claimed job in a worker's hands; `token` fences everything the worker writes for it."""

    id: str
    task: str
    queue: str
    args: str
    token: int
    attempt: int
    max_attempts: int
    lost: int
    run: int
    priority: int
    timeout_us: int | None
    cancel_requested: bool
    key: str | None
    tenant: str
    holder: str
    submitted_at: int
    deadline_at: int | None = None


def lease_of(job: JobRecord) -> Lease:
    """Return what a worker, or the reaper, is told of a job that is held."""
    return Lease(
        id=job.id,
        task=job.task,
        queue=job.queue,
        args=job.args,
        token=job.token,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        lost=job.lost,
        run=job.run,
        priority=job.priority,
        timeout_us=job.timeout_us,
        cancel_requested=job.cancel_requested_at is not None,
        key=job.key,
        tenant=job.tenant,
        holder=job.holder or "",
        submitted_at=job.submitted_at,
        deadline_at=job.deadline_at,
    )


class Leases(list[Lease]):
    """What a claim brought; `again_us` says in how long a rate limit may let more of it start.

    None: nothing starts by the passing of time alone.
    """

    again_us: int | None = None

    def note(self, free_at: int | None, now: int) -> None:
        """Keep the earliest of the instants at which more may start."""
        if free_at is not None:
            self.again_us = min(free_at - now, self.again_us or free_at - now)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's history; `position` orders all events of a ledger, `seq` one job's."""

    position: int
    job_id: str
    seq: int
    type: str
    at: int
    data: str  # a JSON object


@dataclass(frozen=True, slots=True)
class Want:
    """What a worker asks for: up to `limit` jobs of these queues, in this order of queues."""

    holder: str
    queues: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs; every field that is set must hold."""

    ids: tuple[str, ...] | None = None
    tenant: str | None = None
    status: Status | None = None
    queue: str | None = None
    task: str | None = None
    tag: str | None = None
    text: str | None = None  # part of the id, task, arguments or error
    holder: str | None = None
    cancel_requested: bool = False
    submitted_after: int | None = None
    submitted_before: int | None = None
    due_before: int | None = None
    expired_before: int | None = None
    overdue_before: int | None = None  # waits, and its deadline passed before that
    fingerprint: str | None = None  # of the error
    ahead_of: str | None = None  # would be claimed before this job
    discarded: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A window on a list: after the job with this number, newest first unless `oldest_first`."""

    limit: int = 50
    after: int | None = None
    oldest_first: bool = False
    # Instead: ended jobs in the order of their ends, after this instant and this number.
    ended_after: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Doc:
    """A small versioned record: a queue's settings, a worker's presence, an API key."""

    kind: str
    key: str
    version: int
    doc: str
    lease_until: int | None = None


EVERYTHING: Final = Filter()

Moment = Literal["run_at", "expires_at", "deadline_at"]


class Transition(NamedTuple):
    """A change as data: the store compares (`id`, `source`, `token`) and sets, and never decides.

    `token` is None only for jobs that nobody holds. `target` None leaves the status as it is.
    """

    id: str
    source: Status
    token: int | None
    target: Status | None
    event: str  # empty: nothing worth telling happened
    data: str = "{}"
    result: str | None = None
    delay_us: int = 0  # from the store's now to the job's run_at
    attempt: int | None = None
    lost: int | None = None
    rerun: bool = False  # counts a new run and clears what the last one left
    cancel: bool = False  # notes that cancellation was asked for
    unless_cancelled: bool = False  # refuse when cancellation was asked for
    when: Moment | None = None  # refuse before this moment of the job, by the store's clock
    error: str | None = None
    progress: str | None = None
    artifact: str | None = None  # one JSON object to append
    priority: int | None = None
    queue: str | None = None
    max_attempts: int | None = None
    args: str | None = None
    cursor: str | None = None
    discard: bool = False
    run_at_us: int | None = None  # the job's run_at itself, instead of a delay


class Verdict(NamedTuple):
    """Whether a transition was accepted; when not, how the job stands instead."""

    id: str
    accepted: bool
    seq: int = 0
    status: Status | None = None  # None: there is no such job
    token: int = 0
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed."""

    jobs: int = 0
    keys: int = 0
    ids: tuple[str, ...] = field(default=())
    docs: int = 0  # tombstones and uploads whose time was over
