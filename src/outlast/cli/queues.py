"""The commands about queues: how they stand, and what is said of them at run time."""

from typing import Any, Final

import click

from outlast.cli.backend import TARGET, Backend, Doc, with_backend
from outlast.cli.options import options
from outlast.cli.output import shortened, show_json, show_table
from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.core.queue import QUEUE_SETTINGS

_NAME = click.argument("name", metavar="QUEUE")
_NEW = click.option("--new", is_flag=True, help="Also if no job, worker or setting names it yet.")
_SHOWN: Final = tuple(name for name in QUEUE_SETTINGS if name not in {"paused", "draining"})
_NAMES_CHARS: Final = 300


@click.group(invoke_without_command=True)
@options(*TARGET)
@click.pass_context
def queues(ctx: click.Context, /, **given: Any) -> None:
    r"""List queues: how many jobs wait and run, and which limits hold.

    \b
    outlast queues
    outlast queues pause slow         start nothing of it
    outlast queues drain slow         take nothing new, finish what is there
    outlast queues resume slow        end both
    outlast queues set slow max_depth=1000 max_duration=6h concurrency=none
    """
    if ctx.invoked_subcommand is None:
        _list(**given)
        return
    said = {name: value for name, value in given.items() if value}
    ctx.default_map = dict.fromkeys(("pause", "drain", "resume", "set"), said)


@with_backend
async def _list(backend: Backend, as_json: bool) -> None:
    found = await backend.queues()
    if as_json:
        show_json({"queues": found, "next": None})
        return
    rows = [
        [
            queue["name"],
            *(queue["depth"][status] for status in ("pending", "processing", "scheduled")),
            _state(queue),
            _limits(queue),
        ]
        for queue in found
    ]
    heads = ["queue", "pending", "processing", "scheduled", "state", "settings"]
    show_table(heads, rows, empty="no queues: nothing was submitted, and no settings name one")


def _state(queue: Doc) -> str:
    states = [name for name in ("paused", "draining") if queue[name]]
    return ", ".join(states) or "open"


def _limits(queue: Doc) -> str:
    told = {name: queue.get(name) for name in _SHOWN}
    for name in ("max_duration", "cpu_time"):
        if told[name] is not None:
            told[name] = f"{told[name]:g}s"
    if told["memory"] is not None:
        told["memory"] = f"{told['memory'] / (1 << 20):g}MB"
    for name, usual in (("processes", 1), ("broker", "ledger")):
        if told[name] == usual:
            told[name] = None
    return " ".join(f"{name}={value}" for name, value in told.items() if value is not None)


@queues.command()
@_NAME
@_NEW
@with_backend
async def pause(backend: Backend, name: str, new: bool, as_json: bool) -> None:
    """Start no more jobs of a queue; running ones go on, and new ones are taken in."""
    await _change(backend, name, {"paused": True}, new=new, as_json=as_json)


@queues.command()
@_NAME
@_NEW
@with_backend
async def drain(backend: Backend, name: str, new: bool, as_json: bool) -> None:
    """Take no new jobs into a queue; the ones that are there are done."""
    await _change(backend, name, {"draining": True}, new=new, as_json=as_json)


@queues.command()
@_NAME
@_NEW
@with_backend
async def resume(backend: Backend, name: str, new: bool, as_json: bool) -> None:
    """Take in and start jobs of a queue again."""
    await _change(backend, name, {"paused": False, "draining": False}, new=new, as_json=as_json)


@queues.command(name="set")
@_NAME
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE…")
@_NEW
@with_backend
async def set_(
    backend: Backend, name: str, settings: tuple[str, ...], new: bool, as_json: bool
) -> None:
    r"""Change settings of a queue at run time, over those in outlast.yaml; none takes one away.

    \b
    outlast queues set fast max_depth=10000 rate_limit=100/s
    outlast queues set slow max_duration=none worker_count=4
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InvalidInputError(f"{setting!r:.80}: expected NAME=VALUE")
        changes[key.strip()] = _value(value.strip())
    await _change(backend, name, changes, new=new, as_json=as_json)


def _value(text: str) -> Any:
    words: dict[str, Any] = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.lstrip("-").isdigit() else text


async def _change(backend: Backend, name: str, changes: Doc, *, new: bool, as_json: bool) -> None:
    if not new:
        await _must_be_known(backend, name)
    await backend.change_queue(name, changes)
    (queue,) = [queue for queue in await backend.queues() if queue["name"] == name]
    show_json(queue) if as_json else print(f"{name}: {_state(queue)} {_limits(queue)}".rstrip())


async def _must_be_known(backend: Backend, name: str) -> None:
    """Refuse a name that is nobody's: mistyped, it would change nothing, and stay for ever."""
    known = [queue["name"] for queue in await backend.queues()]
    if name in known or (await backend.jobs({"queue": name}, 1, None))[0]:
        return
    others = f"known: {shortened(known, _NAMES_CHARS)}" if known else "there is none yet"
    raise NotFoundError(
        f"no job, worker or setting names a queue {name:.80}; {others}",
        hint="add --new if its first job is still to come",
    )
