"""The commands about the ledger as such: `migrate` and `doctor`."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import click
from pydantic_core import from_json

from outlast.cli import move
from outlast.cli.backend import must_exist
from outlast.cli.broker_checks import of_brokers
from outlast.cli.check import Check
from outlast.cli.checks import of_blobs, of_disks, of_history, of_ledger, of_move, of_program
from outlast.cli.keys import with_ledger
from outlast.cli.options import options
from outlast.cli.output import show_json, show_table
from outlast.cli.stream_checks import of_stream
from outlast.core.errors import (
    ConflictError,
    InvalidInputError,
    OutlastError,
    UnavailableError,
)
from outlast.core.instant import duration_us
from outlast.core.limits import SECOND
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

_MAX_WAIT: Final = "15m"


@click.command()
@click.option("--from", "from_", metavar="URL", help="Move this ledger, to where --to says.")
@click.option("--to", metavar="URL", help="The new place of the ledger; nothing may be there.")
@click.option(
    "--drain",
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="How long running jobs may take to end before they are given back.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be moved.")
@click.option("--finish", is_flag=True, help="Also take away what only an older release used.")
@click.option("--abort", is_flag=True, help="Take an unfinished move of --from back.")
@options("ledger", "config", "json")
def migrate(
    from_: str | None,
    to: str | None,
    drain: str,
    dry_run: bool,
    finish: bool,
    abort: bool,
    **given: Any,
) -> None:
    r"""Bring the ledger's schema up to this release; makes the ledger if there is none.

    While the schema is brought up, processes of the release before work on. What only they used is
    kept until --finish, which is refused while one of their workers lives.

    With --from and --to, move a ledger that is in use: history is copied while everything goes on,
    then running jobs may end, and for the rest nothing is written for a moment. Killed at any
    point, it goes on when it is run again.

    \b
    outlast migrate --ledger sqlite:///outlast.db
    outlast migrate --ledger postgresql://user@host/database
    outlast migrate --from sqlite:///outlast.db --to postgresql://user@host/database
    outlast migrate --from sqlite:///outlast.db --abort
    """
    as_json = given["as_json"]
    if from_ is None and (to is not None or abort or dry_run):
        raise InvalidInputError("--from: expected the ledger to move, got none")
    if from_ is not None and finish:
        raise InvalidInputError("--finish: can't be given together with --from")
    if from_ is None:
        _schema(finish=finish, **given)
    elif given["ledger"] is not None:
        raise InvalidInputError("--ledger: can't be given together with --from")
    elif abort:
        if to is not None or dry_run:
            raise InvalidInputError("--abort: takes --from and nothing else")
        asyncio.run(move.take_back(from_, as_json=as_json))
    elif to is None:
        raise InvalidInputError("--to: expected the new place of the ledger, got none")
    else:
        drain_s = duration_us(drain, field="--drain") / SECOND
        asyncio.run(move.move(from_, to, drain_s=drain_s, dry=dry_run, as_json=as_json))


@with_ledger(make=True, migrate=False)
async def _schema(ledger: Ledger, as_json: bool, *, finish: bool) -> None:
    if finish:
        await _refuse_beside_others(ledger)
    schema = await ledger.migrate(finish=finish)
    newest = int((await ledger.check()).get("schema_newest", schema))
    if as_json:
        show_json({"schema": schema, "newest": newest})
    else:
        print(f"schema {schema}")
        if newest > schema:
            print(f"once no older release runs, to come to {newest}: outlast migrate --finish")


async def _refuse_beside_others(ledger: Ledger) -> None:
    """Raise ConflictError when a worker of another release lives."""
    now, ours = await ledger.now(), version("outlast")
    others = Counter(
        str(from_json(doc.doc).get("version"))
        for doc in await ledger.docs("worker")
        if (doc.lease_until or 0) > now
    )
    del others[ours]
    if others:
        told = ", ".join(f"{count} of {release}" for release, count in sorted(others.items()))
        raise ConflictError(
            f"--finish: workers of another release than {ours} run: {told}",
            hint="stop them, and every other process of that release, then run it again",
        )


@click.command()
@click.option(
    "--max-wait",
    default=_MAX_WAIT,
    show_default=True,
    metavar="DURATION",
    help="How long a job may wait for a worker.",
)
@options("ledger", "broker", "blobs", "config", "json")
def doctor(max_wait: str, as_json: bool, **given: Any) -> int:
    r"""Check the installation, the ledger and the brokers; exit with 1 when something is wrong.

    Changes nothing. Looks for a damaged or old ledger, a full disk, a wrong clock, brokers that are
    away or set wrong, queues that no worker works on or whose jobs wait for long, jobs that no
    worker will finish, and dead letters; says of each what to do.

    \b
    outlast doctor
    outlast doctor --max-wait 1m --json | jq '.checks[] | select(.ok | not)'
    """
    settings = Settings.load(**given)
    wait_us = duration_us(max_wait, field="--max-wait")
    checks = asyncio.run(_examine(settings, wait_us))
    well = all(check.ok for check in checks)
    if as_json:
        show_json({"ok": well, "checks": [asdict(check) for check in checks]})
    else:
        show_table(["check", "is", "detail"], _rows(checks), empty="")
    return 0 if well else 1


def _rows(checks: list[Check]) -> Iterator[tuple[str, str, str]]:
    """Put what to do on a line of its own, so that no terminal's edge cuts it off."""
    for check in checks:
        yield check.name, "ok" if check.ok else "wrong", check.detail
        if not check.ok and check.hint:
            yield "", "", f"→ {check.hint}"


async def _examine(settings: Settings, wait_us: int) -> list[Check]:
    checks = [of_program(), *of_disks(settings)]
    try:
        try:
            must_exist(settings.ledger)
        except UnavailableError as error:
            hint = "make it with outlast migrate, or give another --ledger"
            return [*checks, Check("ledger", ok=False, detail=error.message, hint=hint)]
        ledger = open_ledger(settings.ledger)
        try:
            now = CLOCK.now_us()
            checks += [check async for check in of_ledger(ledger, now, wait_us)]
            named = settings.queue_settings
            checks += [check async for check in of_brokers(ledger, settings.routes, named)]
            checks += [check async for check in of_move(settings.ledger)]
            checks += [await of_history(ledger, settings, now), await _of_blobs(ledger, settings)]
            checks += await of_stream(ledger, settings.events)
        finally:
            await ledger.close()
    except OutlastError as error:
        checks.append(Check("ledger", ok=False, detail=error.message, hint=error.hint))
    return checks


async def _of_blobs(ledger: Ledger, settings: Settings) -> Check:
    try:
        return await of_blobs(ledger, settings)
    except OutlastError as error:
        return Check("files", ok=False, detail=error.message, hint=error.hint)
