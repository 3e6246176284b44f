"""The commands about the ledger as such: `migrate` and `doctor`."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import click

from outlast.cli.backend import must_exist
from outlast.cli.checks import Check, of_blobs, of_disks, of_history, of_ledger, of_program
from outlast.cli.keys import with_ledger
from outlast.cli.options import options
from outlast.cli.output import show_json, show_table
from outlast.core.errors import OutlastError, UnavailableError
from outlast.core.instant import duration_us
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

_MAX_WAIT: Final = "15m"


@click.command()
@with_ledger(make=True)
async def migrate(ledger: Ledger, as_json: bool) -> None:
    r"""Bring the ledger's schema up to this release; makes the ledger if there is none.

    \b
    outlast migrate --ledger sqlite:///outlast.db
    outlast migrate --ledger postgresql://user@host/database
    """
    version = await ledger.migrate()
    show_json({"schema": version}) if as_json else print(f"schema {version}")


@click.command()
@click.option(
    "--max-wait",
    default=_MAX_WAIT,
    show_default=True,
    metavar="DURATION",
    help="How long a job may wait for a worker.",
)
@options("ledger", "blobs", "config", "json")
def doctor(
    ledger: str | None, blobs: str | None, config: str | None, max_wait: str, as_json: bool
) -> int:
    r"""Check the installation and the ledger; exit with 1 when something is wrong.

    Changes nothing. Looks for a damaged or old ledger, a full disk, a wrong clock, queues that no
    worker works on or whose jobs wait for long, jobs that no worker will finish, and dead letters;
    says of each what to do.

    \b
    outlast doctor
    outlast doctor --max-wait 1m --json | jq '.checks[] | select(.ok | not)'
    """
    settings = Settings.load(ledger=ledger, blobs=blobs, config=config)
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
            checks += [await of_history(ledger, settings, now), await _of_blobs(ledger, settings)]
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
