"""What the commands that look and act need: the same few calls on a ledger or on a server."""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from outlast.cli.options import Command, options
from outlast.core.errors import InvalidInputError, UnavailableError

# A job, an event or a group of dead letters, in the form that the HTTP contract gives it.
Doc = dict[str, Any]
TARGET = ("ledger", "blobs", "url", "key", "config", "json")
Listing = tuple[list[Doc], str | None]  # a page, and the cursor of the next one


class Backend(Protocol):
    """Jobs, wherever they are kept."""

    async def jobs(self, where: Mapping[str, str], limit: int, cursor: str | None) -> Listing:
        """Return a page of jobs, newest first; `where` has the names of the contract's query."""
        ...

    async def job(self, job_id: str) -> Doc:
        """Return a job; raise NotFoundError."""
        ...

    async def events(self, job_id: str, after: int) -> list[Doc]:
        """Return the next of a job's events after a sequence number; none when that is the last."""
        ...

    async def changed(self, job_id: str, seq: int) -> None:
        """Return when the job has an event after this one, or after a while."""
        ...

    def file(self, job_id: str, name: str) -> AsyncGenerator[bytes, None]:
        """Yield a file of the job; raise NotFoundError, or CorruptError at its end."""
        ...

    async def cancel(self, job_id: str) -> Doc:
        """Ask a job to stop; raise ConflictError when it has ended."""
        ...

    async def retry(self, job_id: str, args: Mapping[str, Any] | None) -> Doc:
        """Run a failed or cancelled job again; raise ConflictError otherwise."""
        ...

    async def change(self, job_id: str, changes: Mapping[str, Any]) -> Doc:
        """Change a job that has not started; raise ConflictError otherwise."""
        ...

    async def dead(self, limit: int, cursor: str | None) -> Listing:
        """Return a page of dead letters, newest first."""
        ...

    async def dead_groups(self) -> list[Doc]:
        """Return the dead letters grouped by error, most frequent first."""
        ...

    async def redrive(self, ids: Sequence[str]) -> int:
        """Run these dead letters again; return how many there were."""
        ...

    async def discard(self, ids: Sequence[str], reason: str) -> int:
        """Take these off the dead letters; return how many there were."""
        ...

    async def queues(self) -> list[Doc]:
        """Return the queues by name: depth, state and limits."""
        ...

    async def change_queue(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change some of a queue's settings; None takes a limit away."""
        ...

    async def schedules(self) -> list[Doc]:
        """Return the schedules by name."""
        ...

    async def schedule(self, name: str) -> Doc:
        """Return a schedule; raise NotFoundError."""
        ...

    async def put_schedule(self, name: str, spec: Mapping[str, Any], version: int) -> Doc:
        """Make a schedule (version 0) or change the one that has this version."""
        ...

    async def change_schedule(self, name: str, verb: Literal["pause", "resume"]) -> Doc:
        """Pause or resume a schedule."""
        ...

    async def trigger_schedule(self, name: str) -> Doc:
        """Submit its job now; return the job."""
        ...

    async def remove_schedule(self, name: str) -> None:
        """Forget a schedule."""
        ...

    async def preview_schedule(self, name: str, number: int) -> list[Doc]:
        """Return its next ticks."""
        ...

    async def limits(self) -> list[Doc]:
        """Return the limits of tasks, tenants and keys, by subject."""
        ...

    async def set_limit(self, subject: str, said: Mapping[str, Any]) -> Doc:
        """Set what holds for a subject, in place of what was set before; return it."""
        ...

    async def remove_limit(self, subject: str) -> None:
        """Take away what was set live for a subject."""
        ...


@asynccontextmanager
async def opened(
    *,
    ledger: str | None = None,
    blobs: str | None = None,
    config: str | None = None,
    url: str | None = None,
    key: str | None = None,
) -> AsyncIterator[Backend]:
    """Open the server that `url` names, else the ledger."""
    if url is not None:
        if ledger is not None:
            raise InvalidInputError("--url, --ledger: expected one of them, got both")
        from outlast.cli.remote import HttpBackend

        async with HttpBackend(url, key) as remote:
            yield remote
        return
    from outlast.cli.local import LedgerBackend
    from outlast.sdk.settings import Settings

    settings = Settings.load(ledger=ledger, blobs=blobs, config=config)
    must_exist(settings.ledger)
    async with LedgerBackend.of(settings) as local:
        yield local


def must_exist(ledger: str) -> None:
    """Refuse to look into a file that isn't there, instead of making an empty one."""
    path = ledger.removeprefix("sqlite:///")
    if path != ledger and not Path(path).exists():
        raise UnavailableError(
            f"there is no ledger {path}", hint="give another --ledger, or a server with --url"
        )


def with_backend(fn: Callable[..., Awaitable[int | None]]) -> Command:
    """Give a command an open backend as its first argument, and the options that choose it."""

    @functools.wraps(fn)
    def command(*args: Any, **given: Any) -> int | None:
        where = {name: given.pop(name) for name in ("ledger", "blobs", "config", "url", "key")}

        async def work() -> int | None:
            async with opened(**where) as backend:
                return await fn(backend, *args, **given)

        return asyncio.run(work())

    return options(*TARGET)(command)
