"""The answer to a submit: the most frequent one, written from a template instead of a record."""

from functools import cache, lru_cache
from typing import Final

from pydantic_core import to_json
from starlette.responses import Response

from outlast.api.codec import job_out, mounted_at
from outlast.core.instant import to_rfc3339
from outlast.core.job import JobRecord, NewJob
from outlast.core.status import Status

_VARIES: Final = ("id", "task", "queue", "status", "tags", "submitted_at", "run_at")
_WHOLE: Final = {"priority": 1_111_111, "max_attempts": 2_222_222}


class Written(Response):
    """An answer whose body and headers are bytes already."""

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            *headers,
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]


def record_of(job: NewJob, at_us: int) -> JobRecord:
    """Return the row of a job that was inserted just now, without reading it back."""
    run_at = at_us + job.delay_us if job.run_at_us is None else job.run_at_us
    return JobRecord(
        id=job.id, number=0, tenant=job.tenant, task=job.task, queue=job.queue,
        status=Status.SCHEDULED if run_at > at_us else Status.PENDING, priority=job.priority,
        attempt=0, max_attempts=job.max_attempts, token=0, lost=0, run=1, seq=1, args=job.args,
        submitted_at=at_us, run_at=max(run_at, at_us), started_at=None, finished_at=None,
        expires_at=None if job.expires_in_us is None else at_us + job.expires_in_us,
        cancel_requested_at=None, timeout_us=job.timeout_us, deadline_us=job.deadline_us,
        deadline_at=None if job.deadline_us is None else at_us + job.deadline_us, holder=None,
        concurrency_key=job.concurrency_key, key=job.key, tags=job.tags, notify=job.notify,
        progress=None, result=None, error=None, artifacts="[]", cursor=None,
        sole_key=None if job.sole is None else job.sole.key,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _template(_: str) -> tuple[tuple[str, str], ...]:
    """Cut what `job_out` gives for a new job, here, at the places that differ from job to job.

    Returns (name of a place, text after it) pairs; the first has no name.
    """
    shown = job_out(record_of(NewJob(id="<id>", task="<task>"), 0))
    shown |= {name: f"<{name}>" for name in _VARIES} | _WHOLE
    text = to_json(shown).decode()
    for name in _VARIES:
        text = text.replace(f'"<{name}>"', f"\0{name}\0")
    for name, mark in _WHOLE.items():
        text = text.replace(str(mark), f"\0{name}\0")
    first, *rest = text.replace("<id>", "\0bare\0").split("\0")
    return (("", first), *zip(rest[::2], rest[1::2], strict=True))


@cache
def _quoted(text: str) -> str:
    return to_json(text).decode()


def written(job: NewJob, at_us: int) -> bytes:
    """Write a job that was inserted just now, as `job_out` and `record_of` would have it."""
    run_at = at_us + job.delay_us if job.run_at_us is None else job.run_at_us
    at = f'"{to_rfc3339(at_us)}"'
    values = {
        "": "",
        "bare": job.id,
        "id": f'"{job.id}"',
        "task": _quoted(job.task),
        "queue": _quoted(job.queue),
        "status": '"scheduled"' if run_at > at_us else '"pending"',
        "tags": job.tags,
        "submitted_at": at,
        "run_at": at if run_at <= at_us else f'"{to_rfc3339(run_at)}"',
        "priority": str(job.priority),
        "max_attempts": str(job.max_attempts),
    }
    return "".join([values[name] + text for name, text in _template(mounted_at.get())]).encode()
