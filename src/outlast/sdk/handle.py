"""A handle on a submitted job: status, result, events, cancel."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import from_json

from outlast.core import transition
from outlast.core.errors import (
    ConflictError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
    gone,
)
from outlast.core.job import Event, JobRecord
from outlast.core.limits import SECOND, SWEEP_US
from outlast.core.payload import stored_of
from outlast.core.status import Status
from outlast.sdk.artifact import Artifact, entries_of, entry_of, write_file
from outlast.sdk.change import change
from outlast.system import CLOCK

if TYPE_CHECKING:
    from outlast.sdk.app import Outlast

Outcome = Literal["cancelled", "cancelling", "killed", "too-late"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands."""

    id: str
    status: Status
    attempt: int
    progress: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.status.terminal


class Handle:
    """A submitted job."""

    def __init__(self, app: "Outlast", job_id: str, *, duplicate: bool = False) -> None:
        self._app = app
        self.id = job_id
        self.duplicate = duplicate

    def __repr__(self) -> str:
        return f"<Handle {self.id}>"

    async def record(self) -> JobRecord:
        """Return the job's row; raise NotFoundError when there is none, GoneError where one was."""
        (job,) = await self._app.ledger.get([self.id])
        if job is None:
            if await self._app.ledger.docs("tombstone", self.id):
                raise gone(self.id)
            raise NotFoundError(f"there is no job {self.id}")
        return job

    async def status(self) -> JobStatus:
        """Return how the job stands now."""
        job = await self.record()
        return JobStatus(
            job.id,
            job.status,
            job.attempt,
            from_json(job.progress) if job.progress else None,
            from_json(job.error) if job.error else None,
        )

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result, parsed from JSON.

        Raises JobFailedError, JobCancelledError, or WaitTimeoutError after `timeout` seconds
        (the job itself goes on).
        """
        loop = asyncio.get_running_loop()
        start = loop.time()  # the clock that the waiting below goes by
        while True:
            job = await self.record()
            match job.status:
                case Status.COMPLETED:
                    return from_json(await self._app.blobs.fetch(job.result or "null"))
                case Status.FAILED:
                    error = from_json(job.error or "{}")
                    raise JobFailedError(
                        f"job {self.id} failed after {job.attempt} attempts: "
                        f"{error.get('type')}: {error.get('message')}",
                        error=error,
                    )
                case Status.CANCELLED:
                    raise JobCancelledError(f"job {self.id} was cancelled")
                case _:
                    pass
            left = SWEEP_US / SECOND
            if timeout is not None:
                left = min(left, timeout - (loop.time() - start))
                if left <= 0:
                    raise WaitTimeoutError(
                        f"job {self.id} has not ended within {timeout:g} s; it is {job.status}"
                    )
            await self._app.ledger.bell.wait(left)

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Follow the job's history from a sequence number to its end."""
        while True:
            job = await self.record()
            for event in await self._app.ledger.history(self.id, after=after):
                after = event.seq
                yield event
            if job.status.terminal and after >= job.seq:
                return
            await self._app.ledger.bell.wait(SWEEP_US / SECOND)

    async def cancel(
        self, reason: str = "cancelled by request", *, timeout: float | None = None
    ) -> Outcome:
        """Ask the job to stop, and say what came of it.

        The wish is durable: it needs no worker to be there. Returns `cancelled` when the job was
        not started or stopped by itself, `killed` when it had to be made to, `too-late` when it
        had ended otherwise before, and `cancelling` while it still runs. With `timeout`, in
        seconds, waits for one of the first three; raises WaitTimeoutError when none came.
        """
        while True:
            job = await self.record()
            change = transition.cancel(self.id, job.status, reason=reason)
            if job.status is Status.CANCELLED:
                return await self._stopped(None)
            if change is None:
                return "too-late"
            (verdict,) = await self._app.ledger.commit([change])
            if verdict.accepted and change.target is Status.CANCELLED:
                return "cancelled"
            if verdict.accepted or (verdict.cancel_requested and verdict.status is job.status):
                break
        return "cancelling" if timeout is None else await self._stopped(timeout)

    async def _stopped(self, timeout: float | None) -> Outcome:
        try:
            await self.result(timeout)
        except JobCancelledError:
            ends = await self._app.ledger.history(self.id, type="cancelled")
            return "killed" if from_json(ends[-1].data).get("outcome") == "killed" else "cancelled"
        except JobFailedError:
            pass
        return "too-late"

    async def artifacts(self) -> list[Artifact]:
        """Return the files that the job has saved so far."""
        job = await self.record()
        return [Artifact(**entry) for entry in entries_of(job.artifacts, CLOCK.now_us())]

    async def open(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a file of the job; see `Job.open`."""
        job = await self.record()
        entry = entry_of(job.artifacts, name, CLOCK.now_us())
        if entry is None:
            raise NotFoundError(f"job {self.id} has no artifact {name!r:.80}")
        async for chunk in self._app.blobs.read(stored_of(entry)):
            yield chunk

    async def download(self, name: str, path: str | Path) -> Path:
        """Save a file of the job at a path, which is complete when it is there; return it.

        Raises NotFoundError when the job has no file of this name, CorruptError when its bytes are
        not those that were saved.
        """
        async with aclosing(self.open(name)) as chunks:
            return await write_file(chunks, path)

    async def retry(self, args: Mapping[str, Any] | None = None) -> None:
        """Run a failed or cancelled job again, with other arguments if some are given.

        It goes on after its stored steps; with other arguments it starts over. Raises
        InvalidInputError for arguments that don't fit, ConflictError for a job in another state.
        """
        job = await self.record()
        text = None
        if args is not None:
            text = self._app.registered(job.task).encode(args)
            text = await self._app.blobs.shelve(job.id, text)
        change = transition.redriven(self.id, job.status, args=text)
        if change is None or not (await self._app.ledger.commit([change]))[0].accepted:
            raise ConflictError(f"job {self.id} can't be retried: it is {job.status}")

    async def change(self, /, **changes: Any) -> None:
        """Change `priority`, `run_at`, `queue` or `max_attempts` of a job that has not started.

        A `run_at` of None lets it run now. Raises InvalidInputError that lists all that is wrong,
        ConflictError for a job in another state.
        """
        await change(self._app.ledger, self.id, changes)
