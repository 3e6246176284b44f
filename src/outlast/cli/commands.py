"""The commands. Each opens the ledger itself; those that run processes hand over to `processes`."""

import asyncio
import functools
import json
import platform
import sys
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import click

from outlast.cli.output import show_error, show_json, show_table
from outlast.core import transition
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError, OutlastError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Filter, JobRecord, Page
from outlast.core.status import Status
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY

_SCOPES = ("submit", "read", "operate", "admin")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="outlast")
def cli() -> None:
    r"""Outlast runs work that outlasts the request.

    \b
    outlast dev app.py             API, dashboard and workers, with reload
    outlast submit app.py report --args '{"month": "2026-11"}' --wait
    outlast jobs --status failed   what went wrong
    """


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


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    known: dict[str, Any] = {
        "host": click.option("--host", help="Address to serve on (default 127.0.0.1)."),
        "port": click.option("--port", type=int, help="Port; 0 takes a free one (default 8000)."),
        "queue": click.option(
            "--queue", "queues", multiple=True, help="Queue to work on; repeatable (default: all)."
        ),
        "concurrency": click.option(
            "--concurrency", type=int, help="Jobs at once in each process (default 16)."
        ),
        "processes": click.option("--processes", type=int, help="Worker processes (default 2)."),
        "ledger": click.option("--ledger", help="Ledger URL (default sqlite:///outlast.db)."),
        "broker": click.option("--broker", help="Broker URL (default: the ledger itself)."),
        "blobs": click.option("--blobs", help="Folder for result files (default outlast-blobs)."),
        "config": click.option("--config", help="Settings file (default outlast.yaml)."),
        "json": click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
    }

    def add(fn: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            fn = known[name](fn)
        return fn

    return add


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
@_options("host", "port", *_RUN)
def dev(app: str, **given: Any) -> None:
    """Run API, dashboard, workers and upkeep of APP, with reload."""
    _start(app, given, api=True, worker=True, reload=True)


@cli.command()
@click.argument("app")
@_options(*_SERVE)
def api(app: str, **given: Any) -> None:
    """Run the API and dashboard of APP."""
    _start(app, given, api=True, worker=False, reload=False)


@cli.command()
@click.argument("app")
@_options(*_RUN)
def worker(app: str, **given: Any) -> None:
    """Run workers for the tasks of APP."""
    _start(app, given, api=False, worker=True, reload=False)


def _with_ledger(fn: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Give a command an open, migrated ledger."""

    @functools.wraps(fn)
    def command(*args: Any, ledger: str | None, config: str | None, **given: Any) -> None:
        async def work() -> None:
            opened = open_ledger(Settings.load(ledger=ledger, config=config).ledger)
            try:
                await opened.migrate()
                await fn(opened, *args, **given)
            finally:
                await opened.close()

        asyncio.run(work())

    return _options("ledger", "config")(command)


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
@_options("json")
@_with_ledger
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
@_options("json")
@_with_ledger
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
@_options("json")
@_with_ledger
async def cancel(ledger: Ledger, job_id: str, as_json: bool) -> None:
    """Ask a job to stop."""
    job = await _job(ledger, job_id)
    change = transition.cancel(job_id, job.status, reason="cancelled by request")
    await _apply(ledger, job, change, "cancelled", as_json=as_json)


@cli.command()
@click.argument("job_id")
@_options("json")
@_with_ledger
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
@_options("json")
@_with_ledger
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
@_options("ledger", "config", "json")
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


@cli.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("create")
@click.option("--scopes", default="submit,read", show_default=True, help=", ".join(_SCOPES))
@click.option("--tenant", default="", help="The only tenant whose jobs the key sees.")
@_options("json")
@_with_ledger
async def create_key(ledger: Ledger, scopes: str, tenant: str, as_json: bool) -> None:
    """Make a key; its secret is shown once and stored as a hash."""
    wanted = [scope.strip() for scope in scopes.split(",")]
    unknown = set(wanted) - set(_SCOPES)
    if unknown:
        raise InvalidInputError(f"--scopes: expected some of {', '.join(_SCOPES)}; got {scopes!r}")
    secret = f"ol_{ENTROPY.token(32).hex()}"
    doc = {
        "scopes": wanted, "tenant": tenant, "prefix": secret[:9],
        "created_at": to_rfc3339(CLOCK.now_us()),
    }  # fmt: skip
    await ledger.put("key", sha256(secret.encode()).hexdigest(), json.dumps(doc))
    if as_json:
        show_json({"key": secret, **doc})
    else:
        print(secret)


@keys.command("list")
@_options("json")
@_with_ledger
async def list_keys(ledger: Ledger, as_json: bool) -> None:
    """List the keys by their prefixes."""
    found = [json.loads(doc.doc) for doc in await ledger.docs("key")]
    if as_json:
        show_json({"keys": found})
    else:
        heads = ["prefix", "scopes", "tenant", "created_at"]
        show_table(heads, [[doc[h] for h in heads] for doc in found], empty="no keys")


@keys.command("revoke")
@click.argument("prefix")
@_options("json")
@_with_ledger
async def revoke_key(ledger: Ledger, prefix: str, as_json: bool) -> None:
    """Revoke the key with this prefix."""
    found = [d for d in await ledger.docs("key") if json.loads(d.doc)["prefix"] == prefix]
    if not found:
        raise NotFoundError(f"there is no key {prefix!r:.40}", hint="outlast keys list")
    for doc in found:
        await ledger.put("key", doc.key, None)
    show_json({"revoked": len(found)}) if as_json else print(f"{len(found)} revoked")


@cli.command()
@_options("json")
@_with_ledger
async def migrate(ledger: Ledger, as_json: bool) -> None:
    """Bring the ledger's schema up to this release."""
    version = await ledger.migrate()
    show_json({"schema": version}) if as_json else print(f"schema {version}")


@cli.command()
@_options("json")
@_with_ledger
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
