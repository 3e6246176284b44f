"""The command that submits: in process to the ledger, or over HTTP to a server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from outlast.cli.backend import Backend, Doc
from outlast.cli.follow import Silent, follow, goes_on, raise_unless_completed, watching
from outlast.cli.options import options
from outlast.cli.output import show_json
from outlast.core.errors import InvalidInputError, WaitTimeoutError
from outlast.core.instant import duration_us
from outlast.core.limits import SECOND


def read_args(parts: Sequence[str]) -> dict[str, Any]:
    """Read arguments given as JSON objects and as `key=value`; the later one wins.

    A value that is JSON means itself, anything else is text.

    >>> read_args(['{"month": "2026-11"}', "user_id=1", "name=Ada Byron"])
    {'month': '2026-11', 'user_id': 1, 'name': 'Ada Byron'}
    """
    args: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if part.lstrip().startswith("{"):
            args |= _object(part)
        elif equals and name:
            args[name] = _value(value)
        else:
            raise InvalidInputError(
                f"--args: expected a JSON object or key=value, got {part!r:.80}",
                errors=[{"path": "args", "message": "expected a JSON object or key=value"}],
            )
    return args


def _object(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"--args: expected a JSON object: {error}",
            errors=[{"path": "args", "message": str(error)}],
        ) from error
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@asynccontextmanager
async def _submitted(
    where: str, task: str, args: dict[str, Any], said: dict[str, Any], target: dict[str, Any]
) -> AsyncIterator[tuple[Backend, str]]:
    """Submit; give the backend that knows the job, and its ID."""
    if where.startswith(("http://", "https://")):
        from outlast.cli.remote import HttpBackend

        key = said.pop("key", None)
        async with HttpBackend(where, target["key"]) as server:
            job = await server.submit({"task": task, "args": args, **said}, key)
            yield server, job["id"]
        return
    from outlast.cli.local import LedgerBackend
    from outlast.sdk.load import load_app
    from outlast.sdk.settings import Settings
    from outlast.sdk.submission import NO_OPTIONS, Options, new_job

    app = load_app(where)
    app.configure(
        Settings.load(ledger=target["ledger"], blobs=target["blobs"], config=target["config"])
    )
    known = app.registered(task)
    chosen = Options(**said) if said else NO_OPTIONS
    new = new_job(known, args, chosen)
    async with app:
        await app.rules.read(app.ledger)
        new.max_depth = app.rules.of(new.queue).admits
        handle = await app.submit(new)
        yield LedgerBackend(app), handle.id


async def _ended(backend: Backend, job_id: str, within_s: float | None, *, as_json: bool) -> Doc:
    """Show the job on stderr until it has ended, so that stdout has the result alone."""
    try:
        with goes_on(job_id):
            async with asyncio.timeout(within_s):
                if as_json:
                    return await follow(backend, job_id, Silent())
                with watching(as_json=False, stream=sys.stderr) as watcher:
                    return await follow(backend, job_id, watcher)
    except TimeoutError as error:
        raise WaitTimeoutError(
            f"job {job_id} has not ended within {within_s:g} s",
            hint=f"it goes on: outlast show {job_id} --follow",
            job_id=job_id,
        ) from error


@click.command()
@click.argument("app", metavar="APP|URL")
@click.argument("task")
@click.argument("more", nargs=-1, metavar="[KEY=VALUE]…")
@click.option(
    "--args",
    "arguments",
    multiple=True,
    metavar="JSON|KEY=VALUE",
    help="Arguments: a JSON object, or key=value with JSON or text as value; repeatable.",
)
@click.option("--queue", help="Queue, if not the task's own.")
@click.option("--priority", type=int, help="−100…100; higher runs sooner.")
@click.option("--delay", metavar="DURATION", help="Start no sooner than after this, e.g. 5m.")
@click.option("--run-at", metavar="TIME", help="Start no sooner than then (RFC 3339).")
@click.option("--max-attempts", type=int, help="How often it is tried at most.")
@click.option("--timeout", metavar="DURATION", help="The bound of one attempt, e.g. 6h.")
@click.option("--expires-in", metavar="DURATION", help="Cancel it if not started by then.")
@click.option("--concurrency-key", metavar="TEXT", help="Jobs with one key run one at a time.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable.")
@click.option("--idempotency-key", metavar="TEXT", help="Submitted again, it is the same job.")
@click.option("--wait", is_flag=True, help="Wait for the end; print the result.")
@click.option("--within", metavar="DURATION", help="With --wait: how long (exit code 9).")
@options("ledger", "blobs", "config", "key", "json")
def submit(
    app: str,
    task: str,
    more: tuple[str, ...],
    arguments: tuple[str, ...],
    idempotency_key: str | None,
    wait: bool,
    within: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    r"""Submit a job for TASK of APP (a file, module or module:name), or to the server at URL.

    Prints the job's ID; with --wait the result as JSON, while progress goes to stderr.

    \b
    outlast submit app.py report --args '{"user_id": 1, "month": "2026-11"}'
    outlast submit app.py report user_id=1 month=2026-11 --wait
    outlast submit http://127.0.0.1:8000 report user_id=1 --idempotency-key u1-2026-11
    """
    target = {name: given.pop(name) for name in ("ledger", "blobs", "config", "key")}
    args = read_args([*arguments, *more])
    said = {name: value for name, value in given.items() if value not in (None, ())}
    if "tags" in said:
        said["tags"] = list(said["tags"])
    if idempotency_key is not None:
        said["key"] = idempotency_key
    within_s = None if within is None else duration_us(within, field="--within") / SECOND

    async def work() -> None:
        async with _submitted(app, task, args, said, target) as (backend, job_id):
            if not wait:
                show_json({"id": job_id}) if as_json else print(job_id)
                return
            job = await _ended(backend, job_id, within_s, as_json=as_json)
            raise_unless_completed(job)
            result = job["result"]
            show_json({"id": job_id, "result": result} if as_json else result)

    asyncio.run(work())
