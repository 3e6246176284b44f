"""The error tree; HTTP statuses and exit codes are derived from these classes in one table.

::

    OutlastError
    ├── InvalidInputError      what came in can't be accepted as it is
    │   └── MalformedInputError    it can't even be read
    ├── UnauthorizedError      no credential, or one that is not known
    ├── ForbiddenError         the credential lacks the scope
    ├── NotFoundError          no such job, task, artifact, schedule
    │   └── GoneError              it existed, and retention has removed it
    ├── ConflictError          the thing is not in a state that allows this
    │   ├── KeyReusedError         an idempotency key came back with another request
    │   ├── DuplicateJobError      another job of the same intention is there
    │   └── ChangedError           it is not the version any more that was read before
    ├── TooLargeError          over a limit of `core.limits`
    ├── QueueFullError         the queue is at its depth limit; try later
    ├── RateLimitedError       this client is over its rate; try later
    │   └── QuotaError             as many of the tenant's jobs wait as may
    ├── CapabilityError        this store or broker can't do that
    ├── LeaseLostError         the worker no longer holds the job
    ├── UnavailableError       the ledger or broker can't be reached now
    │   ├── StorageFullError       no room is left on the disk of the ledger or the blobs
    │   └── MovedError             the ledger is, or is being taken, somewhere else
    ├── DriftError             stored history does not match the code that replays it
    ├── CorruptError           stored bytes are not what was written
    ├── CrashedError           the job's own process died without an answer
    │   └── OutOfMemoryError       because it took more memory than it may
    ├── CommandError           the job's program ended with a bad exit code
    ├── JobFailedError         the awaited job ended as failed
    ├── JobCancelledError      the awaited job was cancelled
    └── WaitTimeoutError       the awaited job had not ended in time
"""

from collections.abc import Mapping


class OutlastError(Exception):
    """Base of every error that Outlast raises.

    `code` is stable and stands in the HTTP answer and the docs; `retryable` says whether the same
    call may succeed later; `hint` says what to do; `facts` are the machine-readable details.
    """

    code = "error"
    retryable = False
    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message if hint is None else f"{message}; {hint}")
        self.message = message
        self.hint = hint
        self.facts: Mapping[str, object] = facts


class InvalidInputError(OutlastError):
    """A request, argument or setting that can't be accepted; `facts["errors"]` lists why."""

    code = "invalid-request"
    http_status = 422
    exit_code = 2


class MalformedInputError(InvalidInputError):
    """Input that can't be read at all: not JSON, too deep, NUL bytes or lone surrogates."""

    code = "malformed-body"
    http_status = 400


class UnauthorizedError(OutlastError):
    """No API key came, or one that is not known."""

    code = "unauthorized"
    http_status = 401
    exit_code = 3


class ForbiddenError(OutlastError):
    """The API key lacks the scope that this call needs."""

    code = "forbidden"
    http_status = 403
    exit_code = 3


class NotFoundError(OutlastError):
    """No such job, task, queue, worker or artifact."""

    code = "not-found"
    http_status = 404
    exit_code = 4


class GoneError(NotFoundError):
    """It existed, and retention has removed it."""

    code = "job-pruned"
    http_status = 410


class ConflictError(OutlastError):
    """The job is not in a state that allows this."""

    code = "conflict"
    http_status = 409
    exit_code = 5


class KeyReusedError(InvalidInputError):
    """An idempotency key came back with a different request."""

    code = "idempotency-key-reused"
    exit_code = 5


class DuplicateJobError(ConflictError):
    """Another job of the same intention is there; `facts["job_id"]` says which."""

    code = "duplicate-job"


class ChangedError(ConflictError):
    """It was changed since the version that the caller has read."""

    code = "precondition-failed"
    http_status = 412


class TooLargeError(InvalidInputError):
    """Something is over its limit in `core.limits`."""

    code = "too-large"
    http_status = 413


class QueueFullError(OutlastError):
    """The queue is at its depth limit; try again in `facts["retry_after"]` seconds."""

    code = "queue-full"
    retryable = True
    http_status = 503
    exit_code = 6


class RateLimitedError(OutlastError):
    """This client is over its rate; try again in `facts["retry_after"]` seconds."""

    code = "rate-limited"
    retryable = True
    http_status = 429
    exit_code = 6


class QuotaError(RateLimitedError):
    """As many of the tenant's jobs wait as may; try again in `facts["retry_after"]` seconds."""

    code = "quota-exceeded"


class CapabilityError(OutlastError):
    """This ledger, broker or platform can't do what was asked."""

    code = "not-supported"
    http_status = 501


class LeaseLostError(OutlastError):
    """The worker no longer holds the job, so what it tried to write was refused."""

    code = "lease-lost"
    http_status = 409
    exit_code = 5


class UnavailableError(OutlastError):
    """The ledger or the broker can't be reached, or is busy beyond its deadline."""

    code = "unavailable"
    retryable = True
    http_status = 503
    exit_code = 7


class StorageFullError(UnavailableError):
    """No room is left for what was to be stored; the same call succeeds once there is."""

    code = "storage-full"
    http_status = 507


class MovedError(UnavailableError):
    """The ledger is being moved, or has moved, to `facts["destination"]`."""

    code = "moved"


class DriftError(OutlastError):
    """The stored history does not match the code that now replays it."""

    code = "drift"


class CorruptError(OutlastError):
    """Stored bytes are not the ones that were written."""

    code = "corrupt"


class CrashedError(OutlastError):
    """The job's own process died without an answer; `facts` has its `signal` or `exit_code`."""

    code = "crashed"
    retryable = True


class OutOfMemoryError(CrashedError):
    """The job took more memory than it may; `facts` has `limit_bytes` and `peak_bytes`."""

    code = "out-of-memory"


class CommandError(OutlastError):
    """A program ended with a bad exit code; `facts` has `exit_code` and the tail of `stderr`."""

    code = "command-failed"
    retryable = True


class JobFailedError(OutlastError):
    """The awaited job ended as `failed`; `facts["error"]` is its last error."""

    code = "job-failed"
    exit_code = 8


class JobCancelledError(OutlastError):
    """The awaited job was cancelled."""

    code = "job-cancelled"
    exit_code = 8


class WaitTimeoutError(OutlastError):
    """The awaited job had not ended within the time given; the job itself goes on."""

    code = "wait-timeout"
    retryable = True
    exit_code = 9


def gone(job_id: str) -> GoneError:
    """Say that a job was there, and is no more."""
    return GoneError(f"job {job_id} has ended and was removed", hint="see the retention settings")
