"""The commands that act on one job: `cancel` and `retry`."""

import click

from outlast.cli.backend import Backend, Doc, with_backend
from outlast.cli.output import show_json
from outlast.cli.submit import read_args


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
