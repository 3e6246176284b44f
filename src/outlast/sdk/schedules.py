"""Schedules: those that the code declares, and those that people make, change and stop."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from outlast.core.errors import (
    CapabilityError,
    ChangedError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    OutlastError,
    TooLargeError,
)
from outlast.core.instant import to_rfc3339
from outlast.core.job import Doc
from outlast.core.limits import (
    PREVIEW_MAX,
    SCHEDULE_NAME_CHARS_MAX,
    SCHEDULES_MAX,
    SECOND,
)
from outlast.core.schedule import (
    KIND,
    Schedule,
    from_doc,
    is_name,
    job_fields,
    key_of,
    manual_job,
    run_at_of,
    to_doc,
)
from outlast.core.timing import TIMES, timing_of
from outlast.core.unique import Unique
from outlast.sdk.handle import Handle
from outlast.sdk.submission import NO_OPTIONS, Options, check_key, new_job
from outlast.system import new_id

if TYPE_CHECKING:
    from outlast.sdk.app import Outlast

_TRIES: Final = 5
OPTIONS: Final = tuple(
    item.name for item in fields(Options) if item.name not in {"delay", "run_at", "key"}
)
SPEC: Final = ("task", "args", *TIMES, *OPTIONS)
NEW: Final = 0  # in place of a version: there is no such schedule yet
Shown = dict[str, Any]  # a schedule as the HTTP contract shows it


class Schedules:
    """The schedules of a ledger: `app.schedules` has those of the app.

    What a schedule is, is a mapping of the fields of `PUT /v1/schedules/{name}`: `task`, `args`,
    `cron` or `every`, `zone` and so on.
    """

    def __init__(self, app: "Outlast", tenant: str | None = "") -> None:
        self._app = app
        self._tenant = tenant  # None: list those of every tenant
        self.declared: dict[str, dict[str, Any]] = {}  # by the code, as `app.schedule` is told

    async def all(self) -> list[Shown]:
        """Return all schedules, by name; one whose record can't be read has only an `error`."""
        found = []
        for doc in await self._app.ledger.docs(KIND):
            tenant, _, name = doc.key.rpartition("/")
            if self._tenant not in {None, tenant}:
                continue
            try:
                found.append(shown(from_doc(doc.key, doc.doc)))
            except OutlastError as error:
                told = {"message": str(error), "at": None}
                blank = Schedule(name=name, tenant=tenant, spec={}, job={}, error=told)
                found.append(shown(blank))
        return found

    async def get(self, name: str) -> Shown:
        """Return a schedule; raise NotFoundError when there is none."""
        return shown((await self._read(name))[1])

    async def put(
        self, name: str, spec: Mapping[str, Any], *, version: int | None = None
    ) -> tuple[Shown, bool]:
        """Make a schedule or take another's place; return it, and whether it is new.

        It stays paused if it was, and a change of anything but its times leaves its next tick as it
        is. With `version`, which is the `version` that was read (0: none), raises ChangedError when
        it is another by now. Raises InvalidInputError that lists all that is wrong.
        """
        for _ in range(_TRIES):
            doc = await self._doc(name)
            old = _readable(doc)
            if version is not None and version != (old.changed_at if old else NEW):
                raise _changed(name, old)
            if doc is None and len(await self._app.ledger.docs(KIND)) >= SCHEDULES_MAX:
                raise TooLargeError(f"expected at most {SCHEDULES_MAX} schedules in a ledger")
            new = await self._made(name, spec, old)
            if await self._write(new, doc):
                return shown(new), doc is None
        raise _restless(name)

    async def pause(self, name: str) -> Shown:
        """Let it tick no more until it is resumed."""
        return await self._change(name, paused=True)

    async def resume(self, name: str) -> Shown:
        """Let it tick again, from now on: ticks in its pause were not missed."""
        return await self._change(name, paused=False)

    async def trigger(self, name: str, *, key: str | None = None) -> Handle:
        """Submit its job now, beside its ticks, also while it is paused.

        Raises what a submit raises. `key` makes a second call with it return the first job.
        """
        check_key(key)
        _, schedule = await self._read(name)
        job = manual_job(schedule, new_id())
        said = f"trigger {schedule.key}"
        await self._app.rules.fresh(self._app.ledger)
        bound = self._app.rules.of(job.queue).admits
        return await self._app.submit(replace(job, key=key, fingerprint=said, max_depth=bound))

    async def remove(self, name: str, *, version: int | None = None) -> None:
        """Forget a schedule; one that the code still declares comes back with the next worker."""
        for _ in range(_TRIES):
            doc = await self._doc(name)
            if doc is None:
                raise _missing(name)
            old = _readable(doc)
            if version is not None and version != (old.changed_at if old else NEW):
                raise _changed(name, old)
            if await self._app.ledger.put(KIND, doc.key, None, version=doc.version):
                return
        raise _restless(name)

    async def preview(self, name: str, n: int = 10) -> list[dict[str, str]]:
        """Return its next ticks, in UTC and by its zone's clock, and when each job may start."""
        if not 1 <= n <= PREVIEW_MAX:
            raise _wrong("n", f"expected 1 to {PREVIEW_MAX}, got {n}")
        _, schedule = await self._read(name)
        timing, zone = schedule.timing, ZoneInfo(schedule.spec.get("zone") or "UTC")
        ticks: list[dict[str, str]] = []
        at: int | None = await self._app.ledger.now()
        while len(ticks) < n and at is not None and (at := timing.after(at)) is not None:
            local = datetime.fromtimestamp(at // SECOND, zone).isoformat()
            starts = to_rfc3339(run_at_of(schedule, timing, at))
            ticks.append({"at": to_rfc3339(at), "local": local, "run_at": starts})
        return ticks

    def declare(self, name: str, spec: dict[str, Any]) -> None:
        """Note what the code says; raise InvalidInputError that lists all that is wrong."""
        if name in self.declared:
            raise InvalidInputError(f"schedule {name}: declared twice; give one another name")
        self.check(name, spec)
        self.declared[name] = spec

    async def sync(self) -> None:
        """Bring the records in line with the code: done whenever a worker starts.

        What the code declares is made, or follows the code when that was changed; but what a person
        has changed stays as it is. Every other schedule of a task that is known here gets the
        task's present policy.
        """
        for name, spec in self.declared.items():
            with suppress(CapabilityError):  # a later release wrote it, and looks after it
                await self._declare(name, spec)
        for doc in await self._app.ledger.docs(KIND):
            with suppress(CapabilityError):
                known = _readable(doc)
                if known is not None and known.spec.get("task") in self._app.tasks:
                    await self._refresh(doc, known)

    async def _declare(self, name: str, spec: Mapping[str, Any]) -> None:
        for _ in range(_TRIES):
            doc = await self._doc(name)
            old = _readable(doc)
            if old is not None and (old.source != "code" or old.edited or old.spec == spec):
                return
            new = await self._made(name, spec, old)
            if await self._write(replace(new, source="code", edited=False), doc):
                return

    async def _refresh(self, doc: Doc, known: Schedule) -> None:
        """Keep the policy that the task has now; say so when its arguments fit no more."""
        error = None if known.is_stopped else known.error
        try:
            job = self._bound(self._job(known.name, known.spec, known.tenant))
        except InvalidInputError as wrong:
            job = dict(known.job)
            error = {"message": str(wrong), "at": None, "stops": True}
        if (job, error) != (known.job, known.error):
            # Refused only when somebody else was faster, who then knows as much.
            await self._write(replace(known, job=job, error=error), doc)

    async def _made(self, name: str, spec: Mapping[str, Any], old: Schedule | None) -> Schedule:
        """Check what was said and make the record of it, as far along as the old one."""
        said = {part: value for part, value in spec.items() if value is not None}
        job = self._bound(self.check(name, said, old))
        now = await self._app.ledger.now()
        made = Schedule(name=name, tenant=self._tenant or "", spec=said, job=job, changed_at=now)
        if old is None:
            return replace(made, since_at=now, next_at=timing_of(said).after(now))
        made = replace(
            old,
            spec=said,
            job=job,
            changed_at=max(now, old.changed_at + 1),
            edited=old.source == "code",
            error=None,
        )
        if any(old.spec.get(part) != said.get(part) for part in TIMES) and not old.paused:
            following = timing_of(said).after(now)
            made = replace(made, since_at=now, next_at=following, ahead_until=None)
        return made

    def check(
        self, name: str, spec: Mapping[str, Any], old: Schedule | None = None
    ) -> dict[str, Any]:
        """Refuse what is no schedule; return the fields of its jobs."""
        wrong: list[Any] = []
        if not is_name(name):
            message = (
                f"expected 1–{SCHEDULE_NAME_CHARS_MAX} letters, digits and . _ : -, "
                f"got {name!r:.60}"
            )
            wrong.append({"path": "name", "message": message})
        for part in spec:
            if part not in SPEC:
                known = ", ".join(sorted(SPEC))
                wrong.append({"path": f"{part:.80}", "message": f"no such field; known: {known}"})
        job: dict[str, Any] = {}
        try:
            timing_of(spec)
        except InvalidInputError as error:
            wrong += error.facts["errors"]  # type: ignore[arg-type]
        try:
            rest = [part for part in SPEC if part not in TIMES]
            if old is not None and all(old.spec.get(part) == spec.get(part) for part in rest):
                # Another time for the same job needs no registry: a ledger alone can change that.
                job = dict(old.job)
            else:
                job = self._job(name, spec, self._tenant or "")
        except InvalidInputError as error:
            wrong += error.facts.get("errors") or [{"path": "args", "message": error.message}]  # type: ignore[arg-type]
        if wrong:
            listed = "; ".join(f"{one['path']}: {one['message']}" for one in wrong[:5])
            raise InvalidInputError(f"invalid schedule: {listed}", errors=wrong)
        return job

    def _job(self, name: str, spec: Mapping[str, Any], tenant: str) -> dict[str, Any]:
        asked, args = spec.get("task"), spec.get("args", {})
        task = self._app.tasks.get(asked) if isinstance(asked, str) else None
        if task is None:
            known = ", ".join(sorted(self._app.tasks)) or "none"
            raise _wrong("task", f"expected a registered task ({known}), got {asked!r:.80}")
        if not isinstance(args, dict):
            raise _wrong("args", f"expected an object, got {args!r:.60}")
        given = {part: spec[part] for part in OPTIONS if spec.get(part) is not None}
        options = Options(**given) if given else NO_OPTIONS
        job = new_job(task, args, options, tenant=tenant)
        tags = [*json.loads(job.tags), f"{KIND}:{name}"]
        return {**job_fields(job), "tags": json.dumps(tags)}

    def _bound(self, job: dict[str, Any]) -> dict[str, Any]:
        """Add how many jobs may wait in its queue; not known before the settings are read."""
        return {**job, "max_depth": self._app.settings.rules(job["queue"]).max_depth}

    async def _change(self, name: str, *, paused: bool) -> Shown:
        for _ in range(_TRIES):
            doc, old = await self._read(name)
            if old.paused == paused:
                return shown(old)
            now = await self._app.ledger.now()
            following = None if paused else old.timing.after(now)
            new = replace(
                old,
                paused=paused,
                since_at=now,
                next_at=following,
                ahead_until=None,
                changed_at=max(now, old.changed_at + 1),
            )
            if await self._write(new, doc):
                return shown(new)
        raise _restless(name)

    async def _doc(self, name: str) -> Doc | None:
        if not is_name(name):
            return None
        found = await self._app.ledger.docs(KIND, key_of(self._tenant or "", name))
        return found[0] if found else None

    async def _read(self, name: str) -> tuple[Doc, Schedule]:
        doc = await self._doc(name)
        if doc is None:
            raise _missing(name)
        return doc, from_doc(doc.key, doc.doc)

    async def _write(self, new: Schedule, doc: Doc | None) -> bool:
        version = 0 if doc is None else doc.version
        return await self._app.ledger.put(KIND, new.key, to_doc(new), version=version)


def said_of(**given: Any) -> dict[str, Any]:
    """Write what the code says in the words of the HTTP contract."""
    said: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, timedelta):
            said[name] = value / timedelta(seconds=1)
        elif isinstance(value, Unique):
            said[name] = said_of(**asdict(value))
        elif isinstance(value, datetime):
            said[name] = value.isoformat()
        elif value is not None:
            said[name] = list(value) if isinstance(value, tuple) else value
    return said


def shown(schedule: Schedule) -> Shown:
    """Show a schedule as `GET /v1/schedules/{name}` does."""

    def time(us: int | None) -> str | None:
        return None if us is None else to_rfc3339(us)

    return {
        "name": schedule.name, "tenant": schedule.tenant or None, "spec": dict(schedule.spec),
        "paused": schedule.paused, "source": schedule.source, "edited": schedule.edited,
        "version": schedule.changed_at, "changed_at": time(schedule.changed_at),
        "next_at": None if schedule.paused else time(schedule.next_at),
        "last_at": time(schedule.last_at), "last_job_id": schedule.last_job_id,
        "skipped_at": time(schedule.skipped_at),
        "error": None if schedule.error is None else dict(schedule.error),
    }  # fmt: skip


def _readable(doc: Doc | None) -> Schedule | None:
    try:
        return None if doc is None else from_doc(doc.key, doc.doc)
    except CorruptError:
        return None  # it may be put again, or removed


def _wrong(path: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{path}: {message}", errors=[{"path": path, "message": message}])


def _missing(name: str) -> NotFoundError:
    return NotFoundError(f"there is no schedule {name!r:.80}")


def _restless(name: str) -> ConflictError:
    return ConflictError(f"schedule {name} keeps changing", hint="try again")


def _changed(name: str, old: Schedule | None) -> ChangedError:
    now = "there is none" if old is None else f"it was changed at {to_rfc3339(old.changed_at)}"
    return ChangedError(f"schedule {name} is not as you have read it: {now}", hint="read it again")
