"""What a running task may do to the world, as a protocol: the task's context needs nothing else."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Protocol

from outlast.core.job import Event, Lease
from outlast.core.payload import Stored

Source = bytes | Path | Iterable[bytes] | AsyncIterable[bytes]


class Effects(Protocol):
    """One claimed job's way to the ledger and the blobs; everything it writes carries the token."""

    lease: Lease

    def note(self, event: str, data: str, *, progress: str | None = None) -> None:
        """Write an event soon, in order; from any thread, without waiting."""
        ...

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        """Write an event durably; raise LeaseLostError when the job is no longer ours."""
        ...

    async def save(self, cursor: str, *, advances: bool) -> None:
        """Keep how far the job is, in place of what was kept; raise LeaseLostError likewise.

        `advances` says that it is surely further than before.
        """
        ...

    async def cursor(self) -> str | None:
        """Return what was kept last, in this attempt or an earlier one."""
        ...

    async def events(self, type_: str) -> list[Event]:
        """Return this job's events of one type, oldest first, from all attempts."""
        ...

    async def artifacts(self) -> str:
        """Return the JSON array of this job's artifacts."""
        ...

    async def store(self, data: Source, *, name: str, media_type: str) -> Stored:
        """Store a file."""
        ...

    def fetch(self, stored: Stored) -> AsyncGenerator[bytes, None]:
        """Yield a stored file in chunks; of a damaged one raise CorruptError before the last."""
        ...

    async def shelve(self, text: str) -> str:
        """Return the text, or a reference to it when it is too large for a row."""
        ...

    async def unshelve(self, text: str) -> str:
        """Return what was shelved."""
        ...

    def pulse(self) -> None:
        """Note a sign of progress, which may not be worth an event; from any thread."""
        ...

    def shield(self, *, on: bool) -> None:
        """Begin or end a section that a wish to stop does not interrupt."""
        ...

    def stopping(self) -> bool:
        """Whether the task was asked to stop."""
        ...

    def draining(self) -> bool:
        """Whether the worker is about to stop, so that a job that can go on later should end."""
        ...

    def when_draining(self, call: Callable[[], None]) -> None:
        """Call this when the worker is about to stop."""
        ...

    def killed(self) -> None:
        """Note that the attempt was ended by force."""
        ...

    def elapsed_us(self) -> int:
        """Return a monotonic clock."""
        ...
