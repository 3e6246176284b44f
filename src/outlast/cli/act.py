"""The commands that act on one job: `cancel`, `retry` and `change`."""

from typing import Any

import click

from outlast.cli.backend import Backend, Doc, with_backend
from outlast.cli.output import show_json
from outlast.cli.submit import read_args
from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us, to_rfc3339
from outlast.system import CLOCK


def _told(job: Doc, *, as_json: bool) -> None:
    if as_json:
        show_json(job)
        return
    asked = ", asked to stop" if job["cancel_requested_at"] and not job["done"] else ""
    print(f"job {job['id']}: {job['status']}{asked}")


@click.command()
@click.argument("job_id", metavar="ID")
@with_backend
async def cancel(backend: Backend, job_id: str, as_json: bool) -> None:
    r"""Ask a job to stop: at once when it has not started, by request when it runs.

    \b
    outlast cancel 0193…
    outlast cancel 0193… --url http://127.0.0.1:8000
    """
    _told(await backend.cancel(job_id), as_json=as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--args",
    "arguments",
    multiple=True,
    metavar="JSON|KEY=VALUE",
    help="Other arguments, in place of all of its own: a JSON object, or key=value; repeatable.",
)
@with_backend
async def retry(backend: Backend, job_id: str, arguments: tuple[str, ...], as_json: bool) -> None:
    r"""Run a failed or cancelled job again; its attempts count anew and its history stays.

    It goes on after the steps that it has stored; with other arguments it starts over.

    \b
    outlast retry 0193…
    outlast retry 0193… --args '{"month": "2026-10"}'
    """
    args = read_args(arguments) if arguments else None
    _told(await backend.retry(job_id, args), as_json=as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--priority", type=int, help="−100…100; higher runs sooner.")
@click.option("--run-at", metavar="TIME", help="Start no sooner than then (RFC 3339), or now.")
@click.option("--delay", metavar="DURATION", help="Start no sooner than after this, e.g. 5m.")
@click.option("--queue", help="Another queue.")
@click.option("--max-attempts", type=int, help="How often it is tried at most.")
@with_backend
async def change(
    backend: Backend,
    job_id: str,
    run_at: str | None,
    delay: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    r"""Change a job that has not started: its time, its priority, its queue.

    \b
    outlast change 0193… --priority 50
    outlast change 0193… --run-at now
    outlast change 0193… --delay 1h --queue slow
    """
    if run_at is not None and delay is not None:
        raise InvalidInputError("--run-at, --delay: expected one of them, got both")
    changes = {name: value for name, value in given.items() if value is not None}
    if delay is not None:
        moment = CLOCK.now_us() + duration_us(delay, field="--delay")
        changes["run_at"] = to_rfc3339(moment)
    elif run_at is not None:
        changes["run_at"] = None if run_at == "now" else run_at
    _told(await backend.change(job_id, changes), as_json=as_json)
