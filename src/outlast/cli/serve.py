"""The commands that run processes: `dev`, `api`, `worker`."""

import asyncio
import socket
import sys
from importlib.util import find_spec
from typing import Any

import click

from outlast.cli.options import options
from outlast.cli.output import show_json
from outlast.core.errors import CapabilityError, UnavailableError
from outlast.sdk.settings import Settings

_ANY = ("health_host", "health_port", "ledger", "broker", "blobs", "config", "json")
_RUN = ("queue", "except_queue", "concurrency", "processes", *_ANY)
_SERVE = ("host", "port", *_ANY)


@click.command()
@click.argument("app")
@options("host", "port", *_RUN)
def dev(app: str, **given: Any) -> None:
    r"""Run API, dashboard, workers and upkeep of APP, with reload.

    APP is a file, a module, or module:name. Ctrl-C lets running jobs finish or gives them back.

    \b
    outlast dev app.py
    outlast dev shop.jobs:app --port 0 --processes 4
    """
    _start(app, given, api=True, worker=True, reload=True)


@click.command()
@click.argument("app")
@options(*_SERVE)
def api(app: str, **given: Any) -> None:
    r"""Run the API and dashboard of APP.

    On an address that other machines reach it wants API keys first: outlast keys create.

    \b
    outlast api app.py --port 8000
    outlast api shop.jobs:app --host 0.0.0.0
    """
    _start(app, given, api=True, worker=False, reload=False)


@click.command()
@click.argument("app")
@options(*_RUN)
def worker(app: str, **given: Any) -> None:
    r"""Run workers for the tasks of APP.

    \b
    outlast worker app.py --processes 4
    outlast worker app.py --queue slow --concurrency 2
    """
    _start(app, given, api=False, worker=True, reload=False)


def _start(app: str, given: dict[str, Any], *, api: bool, worker: bool, reload: bool) -> None:
    as_json = given.pop("as_json")
    settings = Settings.load(**given)
    # What would only fail in a child, again and again, is told here, once.
    keyless = api and not _may_serve(settings)

    def ready(facts: dict[str, object]) -> None:
        if as_json:
            show_json({"event": "ready", **facts})
            return
        crew = facts.get("workers")
        workers = None if crew is None else f"{crew} worker" + ("" if crew == 1 else "s")
        told = [part for part in (facts.get("url"), workers, facts["ledger"]) if part]
        print("ready: " + " · ".join(map(str, told)), flush=True)
        if keyless:
            print("no API keys: open to this machine only", file=sys.stderr)

    from outlast.cli.processes import run

    code = run(app, settings=settings, api=api, worker=worker, reload=reload, ready=ready)
    if code:
        click.get_current_context().exit(code)


def _may_serve(settings: Settings) -> bool:
    """Whether there are API keys; raise when the API could not serve with these settings."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise CapabilityError("the API needs an extra", hint="pip install 'outlast[api]'")
    from outlast.api.guard import guard_exposure

    has_keys = asyncio.run(_has_keys(settings.ledger))
    guard_exposure(settings.host, has_keys=has_keys)
    _must_be_free(settings.host, settings.port)
    return has_keys


async def _has_keys(url: str) -> bool:
    from outlast.ledger import open_ledger

    ledger = open_ledger(url)
    try:
        await ledger.migrate()
        return bool(await ledger.docs("key"))
    finally:
        await ledger.close()


def _must_be_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server will: a port that was just given up is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise UnavailableError(
                f"can't serve on {host} port {port}: {error.strerror or error}",
                hint="give another --port (0 takes a free one) or --host",
            ) from error
