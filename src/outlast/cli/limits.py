"""The commands about limits of tasks, tenants and keys."""

from typing import Any

import click

from outlast.cli.backend import TARGET, Backend, with_backend
from outlast.cli.options import options
from outlast.cli.output import show_json, show_table
from outlast.core.errors import InvalidInputError
from outlast.core.share import FIELDS

_SUBJECT = click.argument("subject", metavar="SUBJECT")


@click.group(invoke_without_command=True)
@options(*TARGET)
@click.pass_context
def limits(ctx: click.Context, /, **given: Any) -> None:
    r"""List limits: how many jobs of a task, a tenant or a key run at once, how often they start.

    \b
    outlast limits
    outlast limits set key:stripe rate=25/s
    outlast limits set tenant:acme concurrency=5 weight=2
    outlast limits set "key:*" concurrency=1     for each key that has no limit of its own
    outlast limits remove key:stripe
    """
    if ctx.invoked_subcommand is None:
        _list(**given)
        return
    said = {name: value for name, value in given.items() if value}
    ctx.default_map = dict.fromkeys(("set", "remove"), said)


@with_backend
async def _list(backend: Backend, as_json: bool) -> None:
    found = await backend.limits()
    if as_json:
        show_json({"limits": found, "next": None})
        return
    heads = ("subject", *FIELDS, "source")
    show_table(heads, [[limit[head] for head in heads] for limit in found], empty="no limits")


@limits.command(name="set")
@_SUBJECT
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE…")
@with_backend
async def set_(backend: Backend, subject: str, settings: tuple[str, ...], as_json: bool) -> None:
    r"""Set what holds for task:NAME, tenant:NAME or key:NAME from now on; running jobs go on.

    \b
    outlast limits set task:render concurrency=2
    outlast limits set key:stripe rate=25/s burst=5
    """
    said: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InvalidInputError(f"{setting!r:.80}: expected NAME=VALUE")
        said[name.strip()] = int(value) if value.isdigit() else value.strip()
    limit = await backend.set_limit(subject, said)
    told = " ".join(f"{name}={limit[name]}" for name in FIELDS if limit[name] is not None)
    show_json(limit) if as_json else print(f"{subject}: {told}")


@limits.command()
@_SUBJECT
@with_backend
async def remove(backend: Backend, subject: str, as_json: bool) -> None:
    r"""Take away what was set live; what the code declares holds again.

    \b
    outlast limits remove key:stripe
    """
    await backend.remove_limit(subject)
    show_json({"removed": subject}) if as_json else print(f"{subject}: no limit set live")
