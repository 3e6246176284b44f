"""The commands about the ledger as such: `migrate` and `doctor`."""

import asyncio
import platform
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Final

import click

from outlast.cli.backend import must_exist
from outlast.cli.keys import with_ledger
from outlast.cli.options import options
from outlast.cli.output import show_json, show_table
from outlast.core.errors import OutlastError
from outlast.core.job import Filter, Page
from outlast.core.limits import PAGE_MAX, SECOND
from outlast.core.status import Status
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

_OVERDUE_US: Final = 60 * SECOND
_NAMED: Final = 3  # how many stuck jobs are named


@click.command()
@with_ledger(make=True)
async def migrate(ledger: Ledger, as_json: bool) -> None:
    r"""Bring the ledger's schema up to this release; makes the ledger if there is none.

    \b
    outlast migrate --ledger sqlite:///outlast.db
    """
    version = await ledger.migrate()
    show_json({"schema": version}) if as_json else print(f"schema {version}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None


@click.command()
@options("ledger", "config", "json")
def doctor(ledger: str | None, config: str | None, as_json: bool) -> int:
    r"""Check the installation and the ledger; exit with 1 when something is wrong.

    Changes nothing. Looks for a damaged or old ledger, jobs that no worker will finish, and dead
    letters.

    \b
    outlast doctor
    outlast doctor --json | jq '.checks[] | select(.ok | not)'
    """
    url = Settings.load(ledger=ledger, config=config).ledger
    checks = asyncio.run(_examine(url))
    well = all(check.ok for check in checks)
    if as_json:
        show_json({"ok": well, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(check.name, "ok" if check.ok else "wrong", _told(check)) for check in checks]
        show_table(["check", "is", "detail"], rows, empty="")
    return 0 if well else 1


def _told(check: Check) -> str:
    return check.detail if check.ok or check.hint is None else f"{check.detail}: {check.hint}"


async def _examine(url: str) -> list[Check]:
    checks = [Check("python", ok=True, detail=platform.python_version())]
    try:
        must_exist(url)
        ledger = open_ledger(url)
        try:
            checks += [check async for check in _ledger(ledger)]
        finally:
            await ledger.close()
    except OutlastError as error:
        # The ledger's own sentence says what to do.
        checks.append(Check("ledger", ok=False, detail=str(error)))
    return checks


async def _ledger(ledger: Ledger) -> AsyncIterator[Check]:
    facts = await ledger.check()
    yield Check("ledger", ok=True, detail=f"{facts['path']}, schema {facts['schema']}")
    yield Check("sqlite", ok=True, detail=facts["sqlite"])
    mode = facts["journal_mode"]
    yield Check("journal", mode == "wal", mode, "expected wal: is it on a network drive?")
    now = CLOCK.now_us()
    alive = {doc.key for doc in await ledger.docs("worker") if (doc.lease_until or 0) > now}
    pending = await _count(ledger, Filter(status=Status.PENDING))
    yield Check(
        "workers",
        bool(alive) or not pending,
        f"{len(alive)} alive, {pending} jobs pending",
        "nobody works on them; start outlast worker APP",
    )
    yield await _stuck(ledger, alive)
    overdue = await _count(ledger, Filter(due_before=now - _OVERDUE_US))
    yield Check(
        "schedule", not overdue, f"{overdue} jobs overdue", "nobody wakes them; start a worker"
    )
    dead = await _count(ledger, Filter(status=Status.FAILED, discarded=False))
    yield Check(
        "dead letters", not dead, f"{dead} jobs", "look at them with outlast dead, then redrive"
    )


async def _stuck(ledger: Ledger, alive: set[str]) -> Check:
    """Look for jobs in the hands of workers that are gone, which upkeep should have taken back."""
    stuck: list[str] = []
    after: int | None = None
    while True:
        page = Page(limit=PAGE_MAX, after=after, oldest_first=True)
        found = await ledger.find(Filter(status=Status.PROCESSING), page)
        stuck += [job.id for job in found if job.holder not in alive]
        if len(found) < PAGE_MAX:
            break
        after = found[-1].number
    named = ", ".join(stuck[:_NAMED]) + ("…" if len(stuck) > _NAMED else "")
    return Check(
        "stuck jobs",
        not stuck,
        f"{len(stuck)} jobs" + (f" ({named})" if stuck else ""),
        "their worker is gone; start outlast worker APP, which takes them back",
    )


async def _count(ledger: Ledger, where: Filter) -> int:
    return (await ledger.count(where, "")).get((), 0)
