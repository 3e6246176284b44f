"""The commands about dead letters: failed jobs that nobody has redriven or discarded."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from outlast.cli.backend import TARGET, Backend, with_backend
from outlast.cli.look import show_jobs
from outlast.cli.options import options
from outlast.cli.output import shortened, show_json, show_table
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError
from outlast.core.identity import is_uuid
from outlast.core.limits import PAGE_MAX

_ERROR_CHARS = 100
_ID = click.argument("ids", nargs=-1, metavar="[ID]…")
_ALL = click.option("--all", "everything", is_flag=True, help="All dead letters.")


@click.group(invoke_without_command=True)
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=20, show_default=True)
@options(*TARGET)
@click.pass_context
def dead(ctx: click.Context, /, **given: Any) -> None:
    r"""List dead letters, grouped by error: failed jobs that wait for a person.

    \b
    outlast dead
    outlast dead redrive 0193…      run it again
    outlast dead redrive --all
    outlast dead discard 0193…      take it off the list
    """
    if ctx.invoked_subcommand is None:
        _list(**given)
        return
    # What is said before the subcommand holds for it, too.
    said = {name: value for name, value in given.items() if value}
    ctx.default_map = {"redrive": said, "discard": said}


@with_backend
async def _list(backend: Backend, limit: int, as_json: bool) -> None:
    found, following = await backend.dead(limit, None)
    groups = await backend.dead_groups()
    if as_json:
        show_json({"groups": groups, "dead_letters": found, "next": following})
        return
    rows = []
    for group in groups:
        error = group["error"]
        # Errors that an earlier release has written may belong to no group that can be looked up.
        said = f"{error['type']}: {error['message']}" if error else "without a group"
        since = group["oldest_at"] and f"{group['oldest_at'][:19]}Z"
        rows.append([group["count"], group["task"], since, shortened(said, _ERROR_CHARS)])
    show_table(["jobs", "task", "since", "error"], rows, empty="no dead letters")
    if found:
        print()
        show_jobs(found, empty="")


@dead.command()
@_ID
@_ALL
@with_backend
async def redrive(backend: Backend, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    r"""Run dead letters again, by ID or --all; attempts count anew, history stays.

    \b
    outlast dead redrive 0193… 0194…
    outlast dead redrive --all
    """
    await _each(backend, backend.redrive, ids, "redriven", everything=everything, as_json=as_json)


@dead.command()
@_ID
@_ALL
@click.option(
    "--reason", default="discarded by request", metavar="TEXT", help="Stays in their histories."
)
@with_backend
async def discard(
    backend: Backend, ids: tuple[str, ...], everything: bool, reason: str, as_json: bool
) -> None:
    r"""Take dead letters off the list, by ID or --all; the jobs stay as they are.

    \b
    outlast dead discard 0193… --reason "the customer has left"
    """

    async def act(some: Sequence[str]) -> int:
        return await backend.discard(some, reason)

    await _each(backend, act, ids, "discarded", everything=everything, as_json=as_json)


async def _each(
    backend: Backend,
    act: Callable[[Sequence[str]], Awaitable[int]],
    ids: tuple[str, ...],
    verb: str,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    if bool(ids) == everything:
        raise InvalidInputError("expected IDs or --all", hint="outlast dead lists the dead letters")
    for job_id in ids:
        if not is_uuid(job_id):
            raise NotFoundError(f"there is no job {job_id!r:.80}; nothing was {verb}")
    chosen = list(dict.fromkeys(ids)) or await _all(backend)
    count = 0
    for start in range(0, len(chosen), PAGE_MAX):
        count += await act(chosen[start : start + PAGE_MAX])
    show_json({verb: count}) if as_json else print(f"{count} {verb}")
    if ids and count < len(chosen):
        raise ConflictError(
            f"{len(chosen) - count} of {len(chosen)} jobs were not {verb}: no dead letters",
            hint="outlast dead lists them",
        )


async def _all(backend: Backend) -> list[str]:
    """Return the IDs of all dead letters as of now, so that the work has an end."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        found, cursor = await backend.dead(PAGE_MAX, cursor)
        ids += [job["id"] for job in found]
        if cursor is None:
            return ids
