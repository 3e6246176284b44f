"""The commands that look: `jobs` and `show`."""

import json
import re
import sys
from typing import Any, Final

import click

from outlast.cli.backend import Backend, Doc, with_backend
from outlast.cli.follow import (
    follow,
    goes_on,
    line_of,
    progress_of,
    raise_unless_completed,
    watching,
)
from outlast.cli.output import clean, shortened, show_facts, show_json, show_table
from outlast.cli.watch import sight, watch
from outlast.core.instant import duration_us, from_rfc3339, to_rfc3339
from outlast.core.limits import PAGE_MAX
from outlast.core.status import Status
from outlast.system import CLOCK

_AGO: Final = re.compile(r"^[\d.]+\s*(ms|s|m|h|d|w)?$")
_STATUSES: Final = [str(status) for status in Status]
_ERROR_CHARS: Final = 60
_RESULT_CHARS: Final = 2_000
_HEADS: Final = ("id", "task", "queue", "status", "attempt", "progress", "submitted", "error")


def instant(text: str, *, field: str) -> str:
    """Read a time, or how long ago (`1h`), as the RFC 3339 time that both backends take."""
    if _AGO.match(text):
        return to_rfc3339(CLOCK.now_us() - duration_us(text, field=field))
    return to_rfc3339(from_rfc3339(text, field=field))


def row_of(job: Doc) -> list[object]:
    """Write a job as a row of the table."""
    progress, error = job["progress"], job["error"]
    return [
        job["id"],
        job["task"],
        job["queue"],
        job["status"],
        f"{job['attempt']}/{job['max_attempts']}",
        progress_of(progress) if progress and not job["done"] else None,
        job["submitted_at"][:19] + "Z",
        shortened(f"{error['type']}: {error['message']}", _ERROR_CHARS) if error else None,
    ]


def show_jobs(jobs: list[Doc], *, empty: str) -> None:
    """Print jobs as a table."""
    show_table(_HEADS, [row_of(job) for job in jobs], empty=empty)


@click.command()
@click.option("--status", type=click.Choice(_STATUSES), help="Only jobs in this state.")
@click.option("--queue", help="Only jobs of this queue.")
@click.option("--task", help="Only jobs of this task.")
@click.option("--tag", help="Only jobs with this tag.")
@click.option("--text", "q", help="Only jobs with this in their ID, task, arguments or error.")
@click.option("--since", metavar="TIME|AGO", help="Only jobs submitted since, e.g. 1h.")
@click.option("--until", metavar="TIME|AGO", help="Only jobs submitted before.")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=20, show_default=True)
@click.option("--cursor", help="Go on where the last page ended.")
@click.option("--watch", "stay", is_flag=True, help="Stay, and show what changes, until Ctrl-C.")
@with_backend
async def jobs(
    backend: Backend,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
    stay: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    r"""List jobs, newest first.

    With --watch: a live table on a terminal, else a line (or with --json the job) for each change.

    \b
    outlast jobs --status failed --since 1d
    outlast jobs --queue slow --watch
    outlast jobs --queue slow --json | jq -r '.jobs[].id'
    outlast jobs --url http://127.0.0.1:8000 --tag reports
    """
    where = {name: value for name, value in given.items() if value is not None}
    if since is not None:
        where["submitted_after"] = instant(since, field="--since")
    if until is not None:
        where["submitted_before"] = instant(until, field="--until")
    if stay:

        async def listed() -> list[Doc]:
            return (await backend.jobs(where, limit, cursor))[0]

        with sight(_HEADS, row_of, as_json=as_json) as shown:
            await watch(listed, shown)
    found, following = await backend.jobs(where, limit, cursor)
    if as_json:
        show_json({"jobs": found, "next": following})
        return
    show_jobs(found, empty="no such jobs")
    if following is not None and sys.stdout.isatty():
        print(f"for more: --cursor {following}", file=sys.stderr)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--follow", "stay", is_flag=True, help="Stay until the job has ended.")
@with_backend
async def show(backend: Backend, job_id: str, stay: bool, as_json: bool) -> None:
    r"""Show one job and its history.

    With --follow it stays until the end (a live bar on a terminal, lines in a pipe, JSON lines
    with --json, the job last) and exits with 8 when the job failed or was cancelled.

    \b
    outlast show 0193… --follow
    outlast show 0193… --json | jq .result
    """
    if stay:
        with goes_on(job_id), watching(as_json=as_json) as watcher:
            job = await follow(backend, job_id, watcher)
        show_json(job) if as_json else _show(job)
        raise_unless_completed(job)
        return
    job = await backend.job(job_id)
    events: list[Doc] = []
    while more := await backend.events(job_id, events[-1]["seq"] if events else 0):
        events += more
    if as_json:
        show_json({**job, "events": events})
        return
    _show(job)
    print()
    for event in events:
        print(line_of(event))


def _show(job: Doc) -> None:
    error: dict[str, Any] = job["error"] or {}
    result = None if job["result"] is None else json.dumps(job["result"], ensure_ascii=False)
    args = json.dumps(job["args"], ensure_ascii=False) if job.get("args") else None
    show_facts(
        {
            "id": job["id"],
            "task": job["task"],
            "queue": job["queue"],
            "status": job["status"],
            "attempt": f"{job['attempt']} of {job['max_attempts']}",
            "priority": job["priority"] or None,
            "tags": job["tags"],
            "progress": progress_of(job["progress"]) if job["progress"] else None,
            "submitted": job["submitted_at"],
            "runs at": job["run_at"] if job["status"] == "scheduled" else None,
            "started": job["started_at"],
            "finished": job["finished_at"],
            "asked to stop": job["cancel_requested_at"],
            "arguments": shortened(args, _RESULT_CHARS) if args else None,
            "result": shortened(result, _RESULT_CHARS) if result else None,
            "error": f"{error['type']}: {error['message']}" if error else None,
            "hint": error.get("hint"),
            "files": [f"{file['name']} ({file['size']} bytes)" for file in job["artifacts"]],
        }
    )
    for line in (error.get("traceback") or "").splitlines():
        print(f"    {clean(line)}")
