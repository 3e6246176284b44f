"""Following one job to its end: a live bar on a terminal, lines in a pipe, or JSON."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import ceil
from typing import Protocol, TextIO

from outlast.cli.backend import Backend, Doc
from outlast.cli.output import clean, shortened, show_json
from outlast.core.errors import JobCancelledError, JobFailedError, UnavailableError
from outlast.core.limits import SECOND
from outlast.system import CLOCK

_DATA_CHARS = 200
_AWAY_US = 60 * SECOND  # how long a server or ledger that was there may be away


class Watcher(Protocol):
    """Shows what happens to a job."""

    def event(self, event: Doc) -> None: ...

    def job(self, job: Doc) -> None: ...


async def follow(backend: Backend, job_id: str, watcher: Watcher) -> Doc:
    """Show a job's whole history and then each change, until it has ended; return it."""
    after = 0
    seen: int | None = None
    while True:
        try:
            # The job is read first: when it has ended, its last event is among those read next.
            job = await backend.job(job_id)
            seen = CLOCK.elapsed_us()
            while events := await backend.events(job_id, after):
                for event in events:
                    after = event["seq"]
                    watcher.event(event)
            watcher.job(job)
            if job["done"]:
                return job
            await backend.changed(job_id, after)
        except UnavailableError:
            # A server that restarts, or a database that is moved, is back in a moment.
            if seen is None or CLOCK.elapsed_us() - seen > _AWAY_US:
                raise
            await asyncio.sleep(1)


@contextmanager
def goes_on(job_id: str) -> Iterator[None]:
    """Say on Ctrl-C that the job itself goes on, and how to see it."""
    try:
        yield
    except asyncio.CancelledError:
        print(f"job {job_id} goes on: outlast show {job_id} --follow", file=sys.stderr)
        raise


def raise_unless_completed(job: Doc) -> None:
    """Raise the error that tells of a bad end."""
    if job["status"] == "failed":
        error = job["error"] or {}
        raise JobFailedError(
            f"job {job['id']} failed after {job['attempt']} attempts: "
            f"{error.get('type')}: {clean(error.get('message'))}",
            job_id=job["id"],
            reason={name: value for name, value in error.items() if name != "traceback"},
        )
    if job["status"] == "cancelled":
        raise JobCancelledError(f"job {job['id']} was cancelled", job_id=job["id"])


def line_of(event: Doc) -> str:
    """Write an event on one line."""
    return f"{event['at']}  {event['seq']:>4}  {event['type']:<14}  {_gist(event)}".rstrip()


def _gist(event: Doc) -> str:
    data = event["data"]
    error = data.get("error")
    if event["type"] == "progress":
        return progress_of(data)
    if isinstance(error, dict):
        again = f"attempt {data['attempt']}: " if "attempt" in data else ""
        return shortened(f"{again}{error.get('type')}: {error.get('message')}", _DATA_CHARS)
    if event["type"] == "log":
        return shortened(data.get("message"), _DATA_CHARS)
    return shortened(json.dumps(data), _DATA_CHARS) if data else ""


def progress_of(data: Doc) -> str:
    """Write progress on one line: `40/120 33.3 % rendering, 2.5/s, 0:00:32 left`."""
    total, percent = data.get("total"), data.get("percent")
    parts = [
        f"{data.get('done'):g}" + (f"/{total:g}" if total else ""),
        "" if percent is None else f"{percent:g} %",
        clean(data["message"]) if data.get("message") else "",
    ]
    return ", ".join([" ".join(part for part in parts if part), *pace_of(data)])


def pace_of(data: Doc) -> list[str]:
    """Write how fast it gets on and how long that will take, as far as it is known."""
    rate, left = data.get("rate"), data.get("eta")
    return ([f"{rate:g}/s"] if rate else []) + (
        [f"{timedelta(seconds=ceil(left))} left"] if left else []
    )


class JsonWatcher:
    """Prints each event as a line of JSON."""

    def event(self, event: Doc) -> None:
        show_json(event)

    def job(self, job: Doc) -> None:
        pass


class LineWatcher:
    """Prints each event as a line of text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def event(self, event: Doc) -> None:
        print(line_of(event), file=self._stream, flush=True)

    def job(self, job: Doc) -> None:
        pass


class Silent:
    """Shows nothing."""

    def event(self, event: Doc) -> None:
        pass

    def job(self, job: Doc) -> None:
        pass


class BarWatcher:
    """Draws the job's progress, with the other events above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn
        from rich.table import Column
        from rich.text import Text

        class Words(TaskProgressColumn):
            """What the job is and does; never read as markup."""

            def render(self, task: object) -> Text:
                return Text(getattr(task, "description", ""))

        self._text = Text
        self.bar = Progress(
            Words(table_column=Column(ratio=1)),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(file=stream),
            get_time=lambda: CLOCK.elapsed_us() / SECOND,
        )
        self._row = self.bar.add_task("", total=None)

    def event(self, event: Doc) -> None:
        if event["type"] != "progress":
            self.bar.console.print(self._text(line_of(event)), soft_wrap=True)

    def job(self, job: Doc) -> None:
        now = job["progress"] or {}
        said = f"{job['task']} {job['status']} {now.get('message') or ''}".rstrip()
        words = ", ".join([said, *([] if job["done"] else pace_of(now))])
        total = now.get("total") or (1 if job["status"] == "completed" else None)
        done = total if job["status"] == "completed" else now.get("done")
        self.bar.update(self._row, description=shortened(words, 80), total=total, completed=done)


@contextmanager
def watching(*, as_json: bool, stream: TextIO | None = None) -> Iterator[Watcher]:
    """Choose how to show: JSON when asked for, a bar on a terminal, else lines."""
    stream = sys.stdout if stream is None else stream
    if as_json:
        yield JsonWatcher()
    elif stream.isatty():
        watcher = BarWatcher(stream)
        with watcher.bar:
            yield watcher
    else:
        yield LineWatcher(stream)
