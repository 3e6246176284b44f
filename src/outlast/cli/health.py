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
from outlast.core.fold import fold, of_row
from outlast.core.job import Event, Filter, Page
from outlast.core.limits import PAGE_MAX, SECOND
from outlast.core.status import Status
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

_OVERDUE_US: Final = 60 * SECOND
_NAMED: Final = 3  # how many jobs are named of those that are wrong
_FOLDED: Final = 100  # how many of the latest jobs are compared with their histories


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
    yield await _explained(ledger)
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
    return Check(
        "stuck jobs",
        not stuck,
        _listed(stuck),
        "their worker is gone; start outlast worker APP, which takes them back",
    )


async def _explained(ledger: Ledger) -> Check:
    """Fold the latest jobs' histories and compare them with their rows, which must be the same."""
    odd = [
        job.id
        for job in await ledger.find(Filter(), Page(limit=_FOLDED))
        if fold(await _whole_history(ledger, job.id)) not in {of_row(job), None}
        and (await ledger.get([job.id])) == [job]  # it did not just move
    ]
    return Check(
        "odd histories",
        not odd,
        _listed(odd),
        "their histories do not explain them; please report it",
    )


async def _whole_history(ledger: Ledger, job_id: str) -> list[Event]:
    events: list[Event] = []
    while page := await ledger.history(job_id, after=events[-1].seq if events else 0):
        events += page
    return events


def _listed(ids: list[str]) -> str:
    if not ids:
        return "none"
    return f"{len(ids)} jobs ({', '.join(ids[:_NAMED])}{'…' if len(ids) > _NAMED else ''})"


async def _count(ledger: Ledger, where: Filter) -> int:
    return (await ledger.count(where, "")).get((), 0)
