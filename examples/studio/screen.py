"""Show how the jobs are doing: live bars on a terminal, lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "processing": "cyan",
    "scheduled": "yellow",
}


class Screen(Protocol):
    """Where the demo tells its story."""

    console: Console

    def say(self, words: str) -> None:
        """Tell what happens."""
        ...

    def show(self, names: Mapping[str, str], jobs: Mapping[str, dict[str, Any]]) -> None:
        """Show the named jobs as they are now."""
        ...

    def close(self) -> None:
        """Leave the last state on the screen."""
        ...


def open_screen() -> Screen:
    """Return bars for a terminal, lines for anything else."""
    console = Console(highlight=False)
    if console.is_terminal:
        return LiveScreen(console)
    # Without a terminal there is no width; a wide one keeps each line in one piece.
    return PlainScreen(Console(highlight=False, width=140))


class LiveScreen:
    """One bar a job."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<27}"),
            TextColumn("{task.fields[status]}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._progress.start()

    def say(self, words: str) -> None:
        self._progress.console.print(words, markup=False)

    def show(self, names: Mapping[str, str], jobs: Mapping[str, dict[str, Any]]) -> None:
        for job_id, name in names.items():
            job = jobs.get(job_id)
            if job is None:
                continue
            if job_id not in self._bars:
                self._bars[job_id] = self._progress.add_task(name, total=None, status="", note="")
            done, total = _numbers(job)
            self._progress.update(
                self._bars[job_id],
                completed=done,
                total=total,
                status=f"[{COLOURS.get(job['status'], 'white')}]{job['status']:<10}",
                note=escape(_note(job)),
            )

    def close(self) -> None:
        self._progress.stop()


class PlainScreen:
    """One line for each change of a job's state, and for each quarter of its way."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._shown: dict[str, tuple[object, ...]] = {}

    def say(self, words: str) -> None:
        line = f"{time.monotonic() - self._started:6.1f} s  {words}"
        self.console.print(line, markup=False, soft_wrap=True)

    def show(self, names: Mapping[str, str], jobs: Mapping[str, dict[str, Any]]) -> None:
        for job_id, name in names.items():
            job = jobs.get(job_id)
            if job is None:
                continue
            done, total = _numbers(job)
            quarter = int(4 * done / total) if total else 0
            state = (job["status"], job["attempt"], quarter)
            if self._shown.get(job_id) == state:
                continue
            self._shown[job_id] = state
            percent = f"{done / total:4.0%}" if total else "    "
            self.say(f"  {name:<27} {job['status']:<10} {percent}  {_note(job)}".rstrip())

    def close(self) -> None:
        """Do nothing: every line stays."""


def _numbers(job: Mapping[str, Any]) -> tuple[float, float | None]:
    progress = job.get("progress") or {}
    total = progress.get("total")
    if job["status"] == "completed":
        return (total or 1), (total or 1)
    return progress.get("done") or 0, total


def _note(job: Mapping[str, Any]) -> str:
    attempt = f"attempt {job['attempt']}  " if job["attempt"] > 1 else ""
    if job["status"] in {"failed", "scheduled"} and job.get("error"):
        return f"{attempt}{job['error']['type']}: {job['error']['message'][:90]}"
    message = (job.get("progress") or {}).get("message") or ""
    return attempt + ("" if job["done"] else message)


def facts_table(rows: Sequence[tuple[str, str, str, bool]]) -> Table:
    """Return what was checked: the claim, what was expected, what was found."""
    table = Table(title="Checked", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for head in ("", "What", "Expected", "Found"):
        table.add_column(head)
    for what, expected, found, good in rows:
        table.add_row("[green]ok[/]" if good else "[red]NO[/]", what, expected, found)
    return table


def places_table(title: str, rows: Sequence[tuple[str, str, str]]) -> Table:
    """Return where each job's results lie."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Job")
    table.add_column("Files", overflow="fold")
    table.add_column("Address", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
