"""The transitions of a job as values: retry, dead-lettering, give-back and cancel are data."""

import json

from outlast.core import payload
from outlast.core.failure import fingerprint
from outlast.core.job import JobRecord, Lease, NewJob, Transition, Verdict
from outlast.core.limits import LOST_MAX, MISSING_MAX
from outlast.core.retry import LOST_BACKOFF, MISSING_BACKOFF, Backoff
from outlast.core.status import UNSTARTED, Status


def completed(lease: Lease, result: str | None) -> Transition:
    """End a leased job well."""
    return Transition(
        lease.id, Status.PROCESSING, lease.token, Status.COMPLETED, "completed", result=result
    )


def amended(
    lease: Lease, event: str, data: str, *, progress: str | None = None, artifact: str | None = None
) -> Transition:
    """Note progress, a step, a log line or an artifact of a leased job, which goes on."""
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        None,
        event,
        data,
        progress=progress,
        artifact=artifact,
    )


def saved(lease: Lease, cursor: str) -> Transition:
    """Keep how far a leased job is: no event, because only the last one is ever of use."""
    return Transition(lease.id, Status.PROCESSING, lease.token, None, "", cursor=cursor)


def recovered(lease: Lease) -> Transition:
    """Forgive a leased job its crashes, because it got on since: such a job is no poison.

    Their attempts are given back, so that crashes alone never end a job that gets on.
    """
    used = max(1, lease.attempt - lease.lost)
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        None,
        "recovered",
        json.dumps({"attempt": used, "forgiven": lease.lost}),
        attempt=used,
        lost=0,
    )


def failed(
    lease: Lease,
    error: dict[str, object],
    *,
    backoff: Backoff,
    dice: float,
    after_us: int | None = None,
    counts: bool = True,
    now_us: int = 0,
    crashed: bool = False,
) -> Transition:
    """Fail an attempt: another one after the backoff, or dead-letter when none is left.

    `error["retryable"]` False dead-letters at once. `dice` is a random number in [0, 1);
    `after_us` overrides the backoff (a server's Retry-After, say). With `counts` False the
    attempt is not used up. There is no other attempt after the job's deadline. A job whose process
    `crashed` has its own bound too, as one that lost its worker: an OOM is not tried for ever.
    """
    counts = counts or crashed
    lost = lease.lost + 1 if crashed else None
    last = (counts and lease.attempt >= lease.max_attempts) or (lost or 0) >= LOST_MAX
    if last or not error.get("retryable", True):
        return _ended(lease, error, lost)
    delay = backoff.delay_us(lease.attempt, dice) if after_us is None else after_us
    if lease.deadline_at is not None and now_us + delay >= lease.deadline_at:
        late = {**error, "retryable": False, "hint": "no time left for another try"}
        return _ended(lease, late, lost)
    if not counts:
        return _snoozed(lease, error, delay)
    said = {"attempt": lease.attempt, "delay_us": delay, "error": error}
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.SCHEDULED if delay else Status.PENDING,
        "retrying",
        json.dumps(said if lost is None else {**said, "lost": lost}),
        delay_us=delay,
        lost=lost,
        error=json.dumps(error),
        unless_cancelled=True,
    )


def _snoozed(lease: Lease, error: dict[str, object], delay: int) -> Transition:
    """Let the job come back later as if this attempt had not been; that is no error of it."""
    used = lease.attempt - 1
    said = {"attempt": lease.attempt, "attempts_used": used, "delay_us": delay}
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.SCHEDULED if delay else Status.PENDING,
        "retrying",
        json.dumps({**said, "reason": error.get("message")}),
        delay_us=delay,
        attempt=used,
        unless_cancelled=True,
    )


def missing(lease: Lease, *, times: int, at: str) -> Transition:
    """Give a job back whose task this worker lacks: in the midst of a deploy another one has it.

    It costs no attempt. `times` is how often that happened before in this run; after
    `MISSING_MAX` times, which take about an hour, no worker has it and the job is a dead letter.
    """
    message = f"this worker has no task {lease.task!r:.80}"
    error = _error("TaskMissing", message, lease.attempt, at, retryable=times < MISSING_MAX)
    if times >= MISSING_MAX:
        more = f"; nor had the {times} before: deploy the code that has it and redrive, or discard"
        return _ended(lease, {**error, "message": f"{error['message']}{more}"})
    delay, used = MISSING_BACKOFF.delay_us(times + 1, 0.0), lease.attempt - 1
    said = {"attempt": lease.attempt, "attempts_used": used, "delay_us": delay}
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.SCHEDULED,
        "retrying",
        json.dumps({**said, "missing": times + 1, "reason": error["message"]}),
        delay_us=delay,
        attempt=used,
        error=json.dumps(error),
        unless_cancelled=True,
    )


def lost(lease: Lease, *, reason: str, at: str, dice: float) -> Transition:
    """Take a job back from a dead worker: it counts as an attempt and against its own bound.

    The bound counts the crashes since the job last got on (see `recovered`).
    """
    count = lease.lost + 1
    message = f"the worker was lost while it ran attempt {lease.attempt}: {reason}"
    error = _error("WorkerLost", message, lease.attempt, at, retryable=True)
    if lease.cancel_requested:
        return cancelled(lease, "cancelled by request; its worker was lost")
    if lease.attempt >= lease.max_attempts or count >= LOST_MAX:
        return _ended(lease, error, count, "crashed" if count >= LOST_MAX else "lost")
    # The first loss is most often a deploy or a machine, so the job runs again at once.
    delay = 0 if count == 1 else LOST_BACKOFF.delay_us(count - 1, dice)
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.SCHEDULED if delay else Status.PENDING,
        "heartbeat-lost",
        json.dumps({"attempt": lease.attempt, "lost": count, "delay_us": delay, "error": error}),
        delay_us=delay,
        lost=count,
        error=json.dumps(error),
        unless_cancelled=True,
    )


def _error(
    type_: str, message: str, attempt: int, at: str, *, retryable: bool
) -> dict[str, object]:
    """Describe what no exception of the task's own says, for the same groups of dead letters."""
    return {
        "type": type_,
        "message": message,
        "attempt": attempt,
        "at": at,
        "retryable": retryable,
        "fingerprint": fingerprint(type_, message),
    }


def _ended(
    lease: Lease, error: dict[str, object], lost: int | None = None, reason: str = "crashed"
) -> Transition:
    if lost is not None:
        error = {**error, "reason": reason}  # which also says that this end counts as a loss
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.FAILED,
        "failed",
        json.dumps({"error": error}),
        lost=lost,
        error=json.dumps(error),
    )


def released(lease: Lease) -> Transition:
    """Give a job back on a graceful stop; it costs no attempt and keeps its place in the queue."""
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.PENDING,
        "released",
        json.dumps({"attempt": lease.attempt - 1}),
        attempt=lease.attempt - 1,
        unless_cancelled=True,
    )


def cancelled(lease: Lease, reason: str, *, killed: bool = False) -> Transition:
    """End a leased job that was asked to stop, or that had to be made to."""
    return Transition(
        lease.id,
        Status.PROCESSING,
        lease.token,
        Status.CANCELLED,
        "cancelled",
        json.dumps({"reason": reason, "outcome": "killed" if killed else "cancelled"}),
    )


def after_refusal(lease: Lease, verdict: Verdict) -> Transition | None:
    """Say what to do after a refused way back to the queue: cancel if that was asked."""
    still_held = verdict.status is Status.PROCESSING and verdict.token == lease.token
    if still_held and verdict.cancel_requested:
        return cancelled(lease, "cancelled by request")
    return None


def cancel(job_id: str, status: Status, *, reason: str) -> Transition | None:
    """Ask a job in this state to stop: at once when not started, by request when it runs."""
    data = json.dumps({"reason": reason})
    if status in UNSTARTED:
        return Transition(job_id, status, None, Status.CANCELLED, "cancelled", data)
    if status is Status.PROCESSING:
        return Transition(
            job_id, status, None, None, "cancelling", data, cancel=True, unless_cancelled=True
        )
    return None


def redriven(job_id: str, status: Status, *, args: str | None = None) -> Transition | None:
    """Run a failed or cancelled job again: a new run of the same ID, attempts counted anew.

    It goes on after its stored steps and cursor, unless it gets other arguments, as JSON.
    """
    if status not in {Status.FAILED, Status.CANCELLED}:
        return None
    return Transition(
        job_id,
        status,
        None,
        Status.PENDING,
        "redriven",
        "{}" if args is None else json.dumps(_said_of(args)),
        attempt=0,
        lost=0,
        rerun=True,
        args=args,
        cursor=None if args is None else "{}",
    )


def moved(change: Transition, delay_us: int, run_at_us: int | None = None) -> Transition:
    """Let an unstarted job run after a delay, or at an instant that is as far away.

    The event is the one that this arrow always has.
    """
    if delay_us:
        event = "changed" if change.source is Status.SCHEDULED else "scheduled"
        return change._replace(
            target=Status.SCHEDULED, event=event, delay_us=delay_us, run_at_us=run_at_us
        )
    event = "due" if change.source is Status.SCHEDULED else "changed"
    return change._replace(target=Status.PENDING, event=event)


def replaced(job_id: str, status: Status, new: NewJob, delay_us: int) -> Transition:
    """Put what a later submit of the same intention says into a job that has not started."""
    change = Transition(
        job_id,
        status,
        None,
        None,
        "changed",
        json.dumps({"args": json.loads(new.args), "priority": new.priority}),
        args=new.args,
        priority=new.priority,
        max_attempts=new.max_attempts,
    )
    return moved(change, delay_us)


def _said_of(args: str) -> dict[str, object]:
    """Tell of other arguments; of large ones, which have moved to the blobs, only that."""
    large = payload.moved(args)
    return {"args": json.loads(args)} if large is None else {"args": None, "size": large.size}


def discarded(job_id: str, reason: str) -> Transition:
    """Take a failed job off the dead letters without running it again."""
    return Transition(
        job_id, Status.FAILED, None, None, "discarded", json.dumps({"reason": reason}), discard=True
    )


def due(record: JobRecord) -> Transition:
    """Make a scheduled job runnable."""
    return Transition(record.id, Status.SCHEDULED, None, Status.PENDING, "due", when="run_at")


def overdue(record: JobRecord, at: str) -> Transition:
    """Fail a job that waits and whose deadline has passed."""
    message = "the job's deadline has passed"
    error = _error("DeadlineError", message, record.attempt, at, retryable=False)
    data = json.dumps({"error": error})
    return Transition(
        record.id,
        record.status,
        None,
        Status.FAILED,
        "failed",
        data,
        error=json.dumps(error),
        when="deadline_at",
    )


def expired(record: JobRecord) -> Transition:
    """End a job that was not started in time."""
    return Transition(
        record.id,
        record.status,
        None,
        Status.CANCELLED,
        "cancelled",
        '{"reason": "expired"}',
        when="expires_at",
    )
