"""What the doctor looks at: each check says what it saw, and what to do when that is wrong."""

import os
import platform
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from outlast.blobs import open_blobs
from outlast.cli.check import Check
from outlast.cli.output import clean
from outlast.cli.server_checks import of_server
from outlast.core.errors import ConflictError, OutlastError
from outlast.core.fold import fold, of_row
from outlast.core.instant import to_rfc3339
from outlast.core.job import Doc, Event, Filter, Page
from outlast.core.limits import DAY, LEASE_US, MINUTE, PAGE_MAX, SECOND
from outlast.core.retention import Retention
from outlast.core.schedule import KIND, from_doc
from outlast.core.status import Status
from outlast.ledger import Ledger
from outlast.ledger.move import MOVED, open_source
from outlast.sdk.dead import Death, fastest, recent_deaths
from outlast.sdk.settings import Settings
from outlast.system import CLOCK
from outlast.upkeep.forget import Forgetting

_OVERDUE_US: Final = MINUTE
_SKEW_US: Final = 5 * SECOND
_NAMED: Final = 3  # how many jobs are named of those that are wrong
_FOLDED: Final = 100  # how many of the latest jobs are compared with their histories
_FREE_MIN: Final = 1024**3
_LOG_MAX: Final = 512 * 1024**2  # a write-ahead log is cut to 64 MiB when nothing keeps it
_GIB: Final = 1024**3
_MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = frozenset(
    {"9p", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3"}
)
_FILE_MAX: Final = 8 * _GIB
_LATE_US: Final = DAY
_BLOBS_MAX: Final = 10_000  # how many are looked at: a bucket can have any number
_GARBAGE_MAX: Final = 100  # what has had its time is removed once an hour


def of_program() -> Check:
    """Say what runs here."""
    told = f"outlast {version('outlast')}, python {platform.python_version()}"
    return Check("versions", ok=True, detail=told)


def of_disks(settings: Settings) -> Iterator[Check]:
    """Look at the places that jobs are written to; they need not exist yet."""
    places = {"ledger": _folder_of(settings.ledger), "blobs": None}
    if "://" not in settings.blobs:
        places["blobs"] = Path(settings.blobs)
    for name, folder in places.items():
        if folder is None:
            continue
        whole = folder.absolute()
        there = next(path for path in [whole, *whole.parents] if path.exists())
        free = shutil.disk_usage(there).free
        yield Check(
            f"disk of {name}",
            free >= _FREE_MIN,
            f"{free / _GIB:.1f} GiB free",
            "a full disk stops every write: free some space, or move it",
        )
        if name == "ledger":
            yield _mount(there)
        if not os.access(there, os.W_OK):
            yield Check(
                f"folder of {name}",
                False,
                f"{there} can't be written to",
                "give its user the right, or choose another place",
            )


def _mount(folder: Path) -> Check:
    kind = kind_of_disk(folder, _MOUNTS)
    return Check(
        "mount of ledger",
        kind not in _NETWORK,
        kind,
        "locks are not to be relied on there: keep the file on a local disk of this machine",
    )


def kind_of_disk(folder: Path, mounts: Path) -> str:
    """Return the type of the file system that a folder is on, by a table like /proc/mounts."""
    best, kind = -1, "unknown"
    for line in mounts.read_text("utf-8").splitlines() if mounts.exists() else ():
        _, point, type_, *_ = line.split(" ")
        at = Path(point.replace("\\040", " "))
        if len(at.parts) >= best and folder.resolve().is_relative_to(at):
            best, kind = len(at.parts), type_
    return kind


def _folder_of(ledger: str) -> Path | None:
    path = ledger.removeprefix("sqlite:///")
    return None if path == ledger else Path(path).parent


async def of_ledger(ledger: Ledger, now: int, wait_us: int) -> AsyncIterator[Check]:
    """Look at an open ledger; raises what its own check raises when it is damaged or too old."""
    facts = await ledger.check()
    place = facts.get("path", facts.get("place", ""))
    yield Check("ledger", True, f"{place}, schema {facts.get('schema', '?')}")
    for check in _store(facts):
        yield check
    workers = [doc for doc in await ledger.docs("worker") if (doc.lease_until or 0) > now]
    paused = {
        doc.key for doc in await ledger.docs("queue") if from_json(doc.doc).get("paused") is True
    }
    yield _skew(now, await _latest(ledger, workers))
    async for check in _queues(ledger, workers, paused, now, wait_us):
        yield check
    yield await _stuck(ledger, {doc.key for doc in workers})
    yield await _explained(ledger)
    overdue = await _count(ledger, Filter(due_before=now - _OVERDUE_US))
    yield Check(
        "schedule",
        not overdue,
        f"{overdue} jobs overdue",
        "nobody wakes them: start outlast worker APP",
    )
    yield await _schedules(ledger, now)
    dead = await _count(ledger, Filter(status=Status.FAILED, discarded=False))
    yield Check(
        "dead letters",
        not dead,
        f"{dead} jobs{await _growth(ledger, now) if dead else ''}",
        "see why with outlast dead; then outlast dead redrive, or discard",
    )


async def _schedules(ledger: Ledger, now: int) -> Check:
    """Name the schedules that can't tick, and those that nobody has looked after in time."""
    docs, troubles = await ledger.docs(KIND), []
    for doc in docs:
        try:
            schedule = from_doc(doc.key, doc.doc)
        except OutlastError as error:
            troubles.append(str(error))
            continue
        overdue = schedule.next_at is not None and schedule.next_at < now - _OVERDUE_US
        if schedule.error is not None:
            troubles.append(f"{doc.key}: {schedule.error['message']}")
        elif overdue and not schedule.paused:
            lacks = (
                "no living worker has it in its code" if schedule.source == "code" else "overdue"
            )
            troubles.append(f"{doc.key}: {lacks}")
    told = "; ".join(map(clean, troubles[:_NAMED]))
    more = f" and {len(troubles) - _NAMED} more" if len(troubles) > _NAMED else ""
    return Check(
        "schedules",
        not troubles,
        f"{told}{more}" if troubles else f"{len(docs)}",
        "see outlast schedules; remove what is not needed any more",
    )


async def _growth(ledger: Ledger, now: int) -> str:
    """Name the errors by which the dead letters grow, each with a job to look at."""
    deaths = await recent_deaths(ledger, now)
    groups = [
        f"{len(group)} × {clean(group[0].kind)} in {_tasks_of(group)}, "
        f"as outlast show {group[0].id}"
        for group in fastest(deaths)[:_NAMED]
    ]
    return f", {len(deaths)} in the last hour: {'; '.join(groups)}" if groups else ""


def _tasks_of(group: list[Death]) -> str:
    names = sorted({death.task for death in group})
    more = f" and {len(names) - _NAMED} more tasks" if len(names) > _NAMED else ""
    return clean(names[:_NAMED]) + more


async def of_move(url: str) -> AsyncIterator[Check]:
    """Say of a move that has begun whether anybody goes on with it."""
    source = open_source(url, CLOCK)
    try:
        mark = await source.mark()
        if mark is None or mark.stage == MOVED:
            return
        try:
            await source.hold()
            goes_on = False
        except ConflictError:
            goes_on = True
        yield Check(
            "move",
            goes_on,
            f"{mark.stage}, to {mark.destination}"
            + ("" if goes_on else ": nobody goes on with it"),
            "jobs may wait for it: run the same outlast migrate --from … --to … again, or take it "
            "back with --abort",
        )
    finally:
        await source.close()


async def of_history(ledger: Ledger, settings: Settings, now: int) -> Check:
    """Look at how much is kept, and whether anybody forgets what need not be."""
    size = _size_of(await ledger.check())
    found = await ledger.find(Filter(status=Status.COMPLETED), Page(limit=1, ended_after=(0, 0)))
    oldest = (found[0].finished_at or now) if found else now
    kept = Retention.read(settings.retention)
    longest = max((us for kind, us in kept.horizons() if kind == "completed"), default=None)
    is_late = longest is not None and now - oldest > longest + _LATE_US
    told = f"{size / 1024**2:.0f} MiB, the oldest completed job ended {to_rfc3339(oldest)[:10]}"
    return Check(
        "history",
        not is_late and size <= _FILE_MAX,
        told if found else f"{size / 1024**2:.0f} MiB, no job has ended yet",
        "nobody forgets: start outlast worker APP"
        if is_late
        else "a large file is slow to back up: keep ended jobs for a shorter time (retention)",
    )


async def of_blobs(ledger: Ledger, settings: Settings) -> Check:
    """Look at the files of jobs: how many, how large, and how many of them nothing refers to."""
    blobs, kept = open_blobs(settings.blobs), Retention.read(settings.retention)
    forgetting = Forgetting(ledger, blobs, kept, clock=CLOCK)
    number = size = garbage = 0
    async for portion in blobs.store.found():
        number += len(portion)
        size += sum(blob.size for blob in portion)
        garbage += len(await forgetting.garbage(portion))
        if number >= _BLOBS_MAX:
            break
    more = "at least " if number >= _BLOBS_MAX else ""
    return Check(
        "files",
        garbage <= _GARBAGE_MAX,
        f"{more}{number} files, {size / _GIB:.2f} GiB, {garbage} of them of no use any more",
        "nobody sweeps: start outlast worker APP, which removes them within an hour",
    )


def _size_of(facts: dict[str, str]) -> int:
    return Path(facts["path"]).stat().st_size if "path" in facts else int(facts.get("bytes", 0))


def _store(facts: dict[str, str]) -> Iterator[Check]:
    if "postgres" in facts:
        yield from of_server(facts)
    if "sqlite" not in facts:
        return
    yield Check("sqlite", True, facts["sqlite"])
    mode = facts["journal_mode"]
    hint = "expected wal: keep the file on a local disk of this machine"
    yield Check("journal", mode == "wal", mode, hint)
    log = Path(f"{facts['path']}-wal")
    size = log.stat().st_size if log.exists() else 0
    yield Check(
        "log",
        size <= _LOG_MAX,
        f"{size / 1024**2:.0f} MiB",
        "a program keeps an old view of the file open: find it with fuser or lsof, and end it",
    )


async def _latest(ledger: Ledger, workers: list[Doc]) -> int:
    """Return the latest instant that anybody wrote."""
    newest = await ledger.find(Filter(), Page(limit=1))
    beats = [(doc.lease_until or 0) - LEASE_US for doc in workers]
    return max([job.submitted_at for job in newest] + beats, default=0)


def _skew(now: int, latest: int) -> Check:
    ahead = latest - now
    return Check(
        "clock",
        ahead <= _SKEW_US,
        to_rfc3339(now) if ahead <= _SKEW_US else f"{ahead / SECOND:.0f} s behind the ledger",
        "set it by NTP on every machine: delays and leases are measured by it",
    )


async def _queues(
    ledger: Ledger, workers: list[Doc], paused: set[str], now: int, wait_us: int
) -> AsyncIterator[Check]:
    counts = await ledger.count(Filter(status=Status.PENDING), "queue")
    served = {queue for doc in workers for queue in from_json(doc.doc).get("queues", [])}
    yield Check("workers", True, f"{len(workers)} alive")
    for (queue, *_), number in sorted(counts.items()):
        seen = partial(Check, f"queue {queue}")
        if queue in paused:
            yield seen(True, f"paused, {number} jobs pending")
            continue
        if queue not in served:
            hint = f"nobody works on it: start outlast worker APP --queue {queue}"
            yield seen(False, f"{number} jobs pending, no worker", hint)
            continue
        where = Filter(status=Status.PENDING, queue=queue)
        found = await ledger.find(where, Page(limit=1, oldest_first=True))
        waited = max((now - job.run_at for job in found), default=0)
        told = f"{number} jobs pending, the oldest for {max(0, waited) / SECOND:.0f} s"
        hint = "start more workers, or raise --concurrency; --max-wait says how long is too long"
        yield seen(waited <= wait_us, told, hint)


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
        "their worker is gone: start outlast worker APP, which takes them back",
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
        "their histories do not explain them: please report it",
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
    found: Any = (await ledger.count(where, "")).get((), 0)
    return int(found)
