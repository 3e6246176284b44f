"""The commands about schedules: when they tick, and what people say of them at run time."""

import asyncio
import json
from datetime import datetime
from typing import Any, Final

import click

from outlast.cli.backend import TARGET, Backend, Doc, opened, with_backend
from outlast.cli.options import options
from outlast.cli.output import show_facts, show_json, show_table
from outlast.core.cron import zone_of
from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.core.limits import PREVIEW_MAX

_NAME = click.argument("name", metavar="NAME")
_SHOWN: Final = 5  # how many next ticks `show` tells


@click.group(invoke_without_command=True)
@options(*TARGET)
@click.pass_context
def schedules(ctx: click.Context, /, **given: Any) -> None:
    r"""List schedules: what is submitted when, and when next.

    \b
    outlast schedules
    outlast schedules show nightly
    outlast schedules set nightly cron="0 4 * * *" zone=Europe/Berlin
    outlast schedules pause nightly
    outlast schedules trigger nightly   submit its job now
    """
    if ctx.invoked_subcommand is None:
        _list(**given)
        return
    said = {name: value for name, value in given.items() if value}
    ctx.default_map = dict.fromkeys(schedules.commands, said)


@schedules.command(name="list")
@with_backend
async def list_(backend: Backend, as_json: bool) -> None:
    r"""List schedules, with the next tick by the clock of their zones.

    \b
    outlast schedules list --json
    """
    await _show_all(backend, as_json=as_json)


@with_backend
async def _list(backend: Backend, as_json: bool) -> None:
    await _show_all(backend, as_json=as_json)


async def _show_all(backend: Backend, *, as_json: bool) -> None:
    found = await backend.schedules()
    if as_json:
        show_json({"schedules": found, "next": None})
        return
    rows = [
        [
            one["name"],
            one["spec"].get("task"),
            _times(one["spec"]),
            _local(one, "next_at"),
            _local(one, "last_at"),
            _state(one),
        ]
        for one in found
    ]
    show_table(["name", "task", "when", "next", "last", "state"], rows, empty="no schedules")


def _times(spec: Doc) -> str:
    if spec.get("every") is not None:
        every = spec["every"]
        return f"every {every}" if isinstance(every, str) else f"every {every:g}s"
    return f"{spec.get('cron')} {spec.get('zone') or 'UTC'}"


def _state(schedule: Doc) -> str:
    if schedule["error"]:
        return str(schedule["error"]["message"])
    return "paused" if schedule["paused"] else "on"


def _local(schedule: Doc, name: str) -> str | None:
    """Write an instant by the clock of the schedule's zone."""
    at = schedule[name]
    if at is None:
        return None
    try:
        zone = zone_of(schedule["spec"].get("zone") or "UTC")
    except InvalidInputError:
        zone = zone_of("UTC")
    return f"{datetime.fromisoformat(at).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


@schedules.command()
@_NAME
@with_backend
async def show(backend: Backend, name: str, as_json: bool) -> None:
    r"""Show a schedule and its next ticks.

    \b
    outlast schedules show nightly
    """
    found = await backend.schedule(name)
    if as_json:
        show_json(found)
        return
    _show(found)
    if not found["paused"] and found["next_at"]:
        print()
        for tick in await backend.preview_schedule(name, _SHOWN):
            print(_tick(tick))


def _show(schedule: Doc) -> None:
    spec = dict(schedule["spec"])
    args = spec.pop("args", None)
    source = "code, edited" if schedule["edited"] else schedule["source"]
    show_facts(
        {
            "name": schedule["name"],
            "tenant": schedule["tenant"],
            **{part: value for part, value in spec.items() if value is not None},
            "args": json.dumps(args, ensure_ascii=False) if args else None,
            "made by": source,
            "state": _state(schedule),
            "changed": schedule["changed_at"],
            "next": _local(schedule, "next_at"),
            "last": _local(schedule, "last_at"),
            "last job": schedule["last_job_id"],
            "skipped": _local(schedule, "skipped_at"),
        }
    )


def _tick(tick: Doc) -> str:
    return f"{tick['local'].replace('T', ' ')}  {tick['at'][:19]}Z"


@schedules.command(name="set")
@_NAME
@click.argument("settings", nargs=-1, required=True, metavar="FIELD=VALUE…")
@click.option("--app", "reference", metavar="APP", help="Without --url: the app with its task.")
@options(*TARGET)
def set_(
    name: str, settings: tuple[str, ...], reference: str | None, as_json: bool, **where: Any
) -> None:
    r"""Make a schedule, or change some fields of one; none takes a field away.

    Fields: task, args (JSON), cron or every, zone, start_at, end_at, jitter, missed (skip, once or
    all), missed_after, and the options of a submit. A new one, or another task or arguments, needs
    --app APP, or --url with a server that knows the task.

    \b
    outlast schedules set nightly task=report args='{"days": 7}' cron="0 3 * * *" --app app.py
    outlast schedules set nightly cron="0 4 * * *" zone=America/New_York
    outlast schedules set poll every=30s missed=skip --url http://127.0.0.1:8000
    """
    changes = dict(map(_field, settings))

    async def work(backend: Backend) -> None:
        spec, version = {}, 0
        try:
            found = await backend.schedule(name)
            spec, version = found["spec"], found["version"]
        except NotFoundError:
            pass
        new = {part: value for part, value in {**spec, **changes}.items() if value is not None}
        _tell(await backend.put_schedule(name, new, version), as_json=as_json)

    async def run() -> None:
        if reference is None or where["url"] is not None:
            async with opened(**where) as backend:
                await work(backend)
            return
        from outlast.cli.local import LedgerBackend
        from outlast.sdk.load import load_app
        from outlast.sdk.settings import Settings

        app = load_app(reference)
        app.configure(Settings.load(ledger=where["ledger"], config=where["config"]))
        async with app:
            await work(LedgerBackend(app))

    asyncio.run(run())


def _field(setting: str) -> tuple[str, Any]:
    """Read `cron=0 3 * * *`: JSON means itself, `none` nothing, and anything else is text."""
    name, equals, value = setting.partition("=")
    if not equals or not name:
        raise InvalidInputError(f"{setting!r:.80}: expected FIELD=VALUE")
    if value.lower() in {"none", "null"}:
        return name, None
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


@schedules.command()
@_NAME
@with_backend
async def pause(backend: Backend, name: str, as_json: bool) -> None:
    r"""Let it tick no more until it is resumed.

    \b
    outlast schedules pause nightly
    """
    _tell(await backend.change_schedule(name, "pause"), as_json=as_json)


@schedules.command()
@_NAME
@with_backend
async def resume(backend: Backend, name: str, as_json: bool) -> None:
    r"""Let it tick again, from now on.

    \b
    outlast schedules resume nightly
    """
    _tell(await backend.change_schedule(name, "resume"), as_json=as_json)


@schedules.command()
@_NAME
@with_backend
async def trigger(backend: Backend, name: str, as_json: bool) -> None:
    r"""Submit its job now, beside its ticks; prints the job's ID.

    \b
    outlast schedules trigger nightly
    """
    job = await backend.trigger_schedule(name)
    show_json(job) if as_json else print(job["id"])


@schedules.command()
@_NAME
@with_backend
async def remove(backend: Backend, name: str, as_json: bool) -> None:
    r"""Forget it; one that the code declares comes back with the next worker.

    \b
    outlast schedules remove nightly
    """
    await backend.remove_schedule(name)
    show_json({"removed": name}) if as_json else print(f"{name}: removed")


@schedules.command()
@_NAME
@click.option("-n", "number", type=click.IntRange(1, PREVIEW_MAX), default=10, show_default=True)
@with_backend
async def preview(backend: Backend, name: str, number: int, as_json: bool) -> None:
    r"""Print its next ticks, by the clock of its zone and in UTC.

    \b
    outlast schedules preview nightly -n 20
    """
    ticks = await backend.preview_schedule(name, number)
    if as_json:
        show_json({"ticks": ticks, "next": None})
        return
    for tick in ticks:
        print(_tick(tick))


def _tell(schedule: Doc, *, as_json: bool) -> None:
    if as_json:
        show_json(schedule)
        return
    following = _local(schedule, "next_at")
    print(f"{schedule['name']}: {_state(schedule)}{f', next {following}' if following else ''}")
