"""The commands. Each opens the ledger itself; those that run processes hand over to `processes`."""

import asyncio
import json
import platform
import sys
from typing import Any

import click

from outlast.cli.keys import keys
from outlast.cli.options import options, with_ledger
from outlast.cli.output import show_error, show_json, show_table
from outlast.core import transition
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError, OutlastError
from outlast.core.fold import fold, of_row
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, Filter, JobRecord, Page
from outlast.core.status import Status
from outlast.ledger import Ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

_CHECKED = 100


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="outlast")
def cli() -> None:
    r"""Outlast runs work that outlasts the request.

    \b
    outlast dev app.py             API, dashboard and workers, with reload
    outlast submit app.py report --args '{"month": "2026-11"}' --wait
    outlast jobs --status failed   what went wrong
    """


cli.add_command(keys)


def run() -> int:
    """Run the command line; turn errors into one sentence and an exit code."""
    as_json = "--json" in sys.argv
    try:
        cli(standalone_mode=False)
    except OutlastError as error:
        show_error(error, as_json=as_json)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


_RUN = ("queue", "concurrency", "processes", "ledger", "broker", "blobs", "config", "json")
_SERVE = ("host", "port", "ledger", "broker", "blobs", "config", "json")


def _start(app: str, given: dict[str, Any], *, api: bool, worker: bool, reload: bool) -> None:
    from outlast.cli.processes import run as run_processes

    as_json = given.pop("as_json")
    settings = Settings.load(**given)
    if settings.broker != "ledger":
        raise InvalidInputError(f"broker: expected ledger, got {settings.broker!r:.100}")

    def ready(facts: dict[str, object]) -> None:
        if as_json:
            show_json({"event": "ready", **facts})
            return
        parts = [facts.get("url"), f"{facts['workers']} workers" if worker else None]
        print("ready: " + " · ".join(str(p) for p in [*parts, facts["ledger"]] if p), flush=True)
        if api and not as_json:
            print("no API keys: open to this machine only", flush=True)

    code = run_processes(app, settings=settings, api=api, worker=worker, reload=reload, ready=ready)
    if code:
        raise SystemExit(code)


@cli.command()
@click.argument("app")
@options("host", "port", *_RUN)
def dev(app: str, **given: Any) -> None:
    """Run API, dashboard, workers and upkeep of APP, with reload."""
    _start(app, given, api=True, worker=True, reload=True)


@cli.command()
@click.argument("app")
@options(*_SERVE)
def api(app: str, **given: Any) -> None:
    """Run the API and dashboard of APP."""
    _start(app, given, api=True, worker=False, reload=False)


@cli.command()
@click.argument("app")
@options(*_RUN)
def worker(app: str, **given: Any) -> None:
    """Run workers for the tasks of APP."""
    _start(app, given, api=False, worker=True, reload=False)


def _brief(job: JobRecord) -> dict[str, Any]:
    progress = json.loads(job.progress) if job.progress else {}
    error = json.loads(job.error) if job.error else {}
    return {
        "id": job.id, "task": job.task, "queue": job.queue, "status": str(job.status),
        "attempt": f"{job.attempt}/{job.max_attempts}", "percent": progress.get("percent"),
        "submitted_at": to_rfc3339(job.submitted_at),
        "error": f"{error['type']}: {error['message']}"[:80] if error else None,
    }  # fmt: skip


def _list(jobs: list[JobRecord], *, as_json: bool, empty: str) -> None:
    briefs = [_brief(job) for job in jobs]
    if as_json:
        show_json({"jobs": briefs})
    else:
        heads = ["id", "task", "queue", "status", "attempt", "percent", "error"]
        show_table(heads, [[b[h] for h in heads] for b in briefs], empty=empty)


@cli.command()
@click.option("--status", type=click.Choice(list(Status)), help="Only jobs in this state.")
@click.option("--queue", help="Only jobs of this queue.")
@click.option("--task", help="Only jobs of this task.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@options("json")
@with_ledger
async def jobs(
    ledger: Ledger,
    status: str | None,
    queue: str | None,
    task: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, newest first."""
    where = Filter(status=Status(status) if status else None, queue=queue, task=task)
    _list(await ledger.find(where, Page(limit=limit)), as_json=as_json, empty="no such jobs")


async def _job(ledger: Ledger, job_id: str) -> JobRecord:
    (job,) = await ledger.get([job_id])
    if job is None:
        raise NotFoundError(f"there is no job {job_id}", hint="outlast jobs lists them")
    return job


@cli.command()
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Stay until the job has ended.")
@options("json")
@with_ledger
async def show(ledger: Ledger, job_id: str, follow: bool, as_json: bool) -> None:
    """Show one job and its history."""
    after = 0
    while True:
        job = await _job(ledger, job_id)
        for event in await ledger.history(job_id, after=after):
            after = event.seq
            line = {"seq": event.seq, "at": to_rfc3339(event.at), "type": event.type}
            if as_json:
                show_json({**line, "data": json.loads(event.data)})
            else:
                print(f"{line['at']}  {event.seq:>4}  {event.type:<14} {event.data[:120]}")
        if not follow or job.status.terminal:
            break
        await ledger.bell.wait(1.0)
    if as_json:
        show_json(_brief(job))
    else:
        for name, value in _brief(job).items():
            print(f"{name:>14}  {'–' if value is None else value}")


@cli.command()
@click.argument("job_id")
@options("json")
@with_ledger
async def cancel(ledger: Ledger, job_id: str, as_json: bool) -> None:
    """Ask a job to stop."""
    job = await _job(ledger, job_id)
    change = transition.cancel(job_id, job.status, reason="cancelled by request")
    await _apply(ledger, job, change, "cancelled", as_json=as_json)


@cli.command()
@click.argument("job_id")
@options("json")
@with_ledger
async def retry(ledger: Ledger, job_id: str, as_json: bool) -> None:
    """Run a failed or cancelled job again."""
    job = await _job(ledger, job_id)
    await _apply(ledger, job, transition.redriven(job_id, job.status), "retried", as_json=as_json)


async def _apply(ledger: Ledger, job: JobRecord, change: Any, verb: str, *, as_json: bool) -> None:
    if change is None or not (await ledger.commit([change]))[0].accepted:
        raise ConflictError(f"job {job.id} can't be {verb}: it is {job.status}")
    now = await _job(ledger, job.id)
    if as_json:
        show_json(_brief(now))
    else:
        print(f"job {job.id}: {now.status}" + (", asked to stop" if now.holder else ""))


@cli.command()
@click.option("--redrive", is_flag=True, help="Run all of them again.")
@click.option("--discard", metavar="REASON", help="Take all of them off the list.")
@options("json")
@with_ledger
async def dead(ledger: Ledger, redrive: bool, discard: str | None, as_json: bool) -> None:
    """List dead letters: failed jobs that nobody has redriven or discarded."""
    where = Filter(status=Status.FAILED, discarded=False)
    found = await ledger.find(where, Page(limit=500))
    if not redrive and discard is None:
        _list(found, as_json=as_json, empty="no dead letters")
        return
    changes = [
        transition.discarded(job.id, discard)
        if discard
        else transition.redriven(job.id, job.status)
        for job in found
    ]
    verdicts = await ledger.commit([change for change in changes if change])
    count = sum(verdict.accepted for verdict in verdicts)
    verb = "discarded" if discard else "redriven"
    if as_json:
        show_json({verb: count})
    else:
        print(f"{count} {verb}")


@cli.command()
@click.argument("app")
@click.argument("task")
@click.option("--args", "arguments", default="{}", help="The arguments as a JSON object.")
@click.option("--key", help="Idempotency key: submitting it again gives the same job.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@options("ledger", "config", "json")
def submit(app: str, task: str, arguments: str, key: str | None, wait: bool, **given: Any) -> None:
    """Submit a job for TASK of APP."""
    from outlast.sdk.load import load_app
    from outlast.sdk.submission import Options, new_job

    as_json = given.pop("as_json")
    found = load_app(app)
    found.configure(Settings.load(**given))
    try:
        parsed = json.loads(arguments)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"--args: expected a JSON object: {error}") from error

    async def work() -> None:
        async with found:
            job = new_job(found.registered(task), parsed, Options(key=key))
            handle = await found.submit(job)
            if not wait:
                show_json({"id": handle.id}) if as_json else print(handle.id)
                return
            result = await handle.result()
            show_json({"id": handle.id, "result": result} if as_json else result)

    asyncio.run(work())


@cli.command()
@options("json")
@with_ledger
async def migrate(ledger: Ledger, as_json: bool) -> None:
    """Bring the ledger's schema up to this release."""
    version = await ledger.migrate()
    show_json({"schema": version}) if as_json else print(f"schema {version}")


@cli.command()
@options("json")
@with_ledger
async def doctor(ledger: Ledger, as_json: bool) -> None:
    """Check the ledger and say what looks wrong."""
    facts: dict[str, Any] = {"python": platform.python_version(), **await ledger.check()}
    alive = [d for d in await ledger.docs("worker") if (d.lease_until or 0) > CLOCK.now_us()]
    waiting = (await ledger.count(Filter(status=Status.PENDING), "")).get((), 0)
    dead_letters = (await ledger.count(Filter(status=Status.FAILED, discarded=False), "")).get(
        (), 0
    )
    facts |= {"workers": len(alive), "pending": waiting, "dead_letters": dead_letters}
    warnings = []
    if waiting and not alive:
        warnings.append(f"{waiting} jobs wait and no worker lives: start outlast worker")
    warnings += await _unexplained(ledger)
    if dead_letters:
        warnings.append(f"{dead_letters} dead letters: look at them with outlast dead")
    if as_json:
        show_json({**facts, "warnings": warnings})
    else:
        for name, value in facts.items():
            print(f"{name:>14}  {value}")
        for warning in warnings:
            print(f"{'warning':>14}  {warning}")
    if warnings:
        raise SystemExit(1)


async def _unexplained(ledger: Ledger) -> list[str]:
    """Fold the latest jobs' histories and compare them with their rows, which must be the same."""
    return [
        f"job {job.id}: its history does not explain its row; please report this"
        for job in await ledger.find(Filter(), Page(limit=_CHECKED))
        if fold(await _whole_history(ledger, job.id)) not in {of_row(job), None}
        and (await ledger.get([job.id])) == [job]  # it did not just move
    ]


async def _whole_history(ledger: Ledger, job_id: str) -> list[Event]:
    events: list[Event] = []
    while page := await ledger.history(job_id, after=events[-1].seq if events else 0):
        events += page
    return events
