"""The backend that works on the ledger itself, without a server."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Literal

from outlast.cli.backend import Doc, Listing
from outlast.core import transition
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError
from outlast.core.identity import is_uuid
from outlast.core.instant import from_rfc3339, to_rfc3339
from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import SECOND, SWEEP_US
from outlast.core.payload import moved
from outlast.core.status import Status
from outlast.sdk.app import Outlast
from outlast.sdk.dead import DEAD, groups_of
from outlast.sdk.limits import all_limits, set_limit
from outlast.sdk.queues import change_queue
from outlast.sdk.schedules import Schedules
from outlast.sdk.settings import Settings

_LIVE: Final = (Status.SCHEDULED, Status.PENDING, Status.PROCESSING, Status.WAITING)


class LedgerBackend:
    """Jobs in an open ledger."""

    def __init__(self, app: Outlast) -> None:
        self._app = app

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings) -> AsyncIterator["LedgerBackend"]:
        """Open the ledger of these settings for as long as the block runs."""
        app = Outlast()
        app.configure(settings)
        async with app:
            yield cls(app)

    async def jobs(self, where: Mapping[str, str], limit: int, cursor: str | None) -> Listing:
        def instant(name: str) -> int | None:
            return from_rfc3339(where[name], field=name) if name in where else None

        chosen = Filter(
            status=Status(where["status"]) if "status" in where else None,
            queue=where.get("queue"),
            task=where.get("task"),
            tag=where.get("tag"),
            text=where.get("q"),
            submitted_after=instant("submitted_after"),
            submitted_before=instant("submitted_before"),
        )
        return await self._page(chosen, limit, cursor)

    async def job(self, job_id: str) -> Doc:
        job = await self._record(job_id)
        return {
            **as_doc(job),
            "args": _parsed(await self._app.blobs.fetch(job.args)),
            "result": _parsed(await self._app.blobs.fetch(job.result or "null")),
        }

    async def events(self, job_id: str, after: int) -> list[Doc]:
        return [
            {
                "seq": event.seq, "job_id": event.job_id, "type": event.type,
                "at": to_rfc3339(event.at), "data": json.loads(event.data),
            }
            for event in await self._app.ledger.history(job_id, after=after)
        ]  # fmt: skip

    async def changed(self, job_id: str, seq: int) -> None:
        await self._app.ledger.bell.wait(SWEEP_US / SECOND)

    async def file(self, job_id: str, name: str) -> AsyncGenerator[bytes, None]:
        job = await self._record(job_id)
        async for chunk in self._app.handle(job.id).open(name):
            yield chunk

    async def cancel(self, job_id: str) -> Doc:
        await self._record(job_id)
        handle = self._app.handle(job_id)
        status = (await handle.record()).status
        if status.terminal or await handle.cancel() == "too-late":
            status = (await handle.record()).status
            raise ConflictError(f"job {job_id} has ended already: {status}")
        return await self.job(job_id)

    async def retry(self, job_id: str, args: Mapping[str, Any] | None) -> Doc:
        job = await self._record(job_id)
        # Whether other arguments fit is for the worker to say: it alone knows the task.
        text = None if args is None else await self._app.blobs.shelve(job.id, json.dumps(args))
        change = transition.redriven(job_id, job.status, args=text)
        if change is None or not (await self._app.ledger.commit([change]))[0].accepted:
            raise ConflictError(f"job {job_id} can't be retried: it is {job.status}")
        return await self.job(job_id)

    async def change(self, job_id: str, changes: Mapping[str, Any]) -> Doc:
        await self._record(job_id)
        await self._app.handle(job_id).change(**changes)
        return await self.job(job_id)

    async def dead(self, limit: int, cursor: str | None) -> Listing:
        return await self._page(DEAD, limit, cursor)

    async def dead_groups(self) -> list[Doc]:
        return [group.told(_parsed, _time) for group in await groups_of(self._app.ledger)]

    async def redrive(self, ids: Sequence[str]) -> int:
        found = await self._dead(ids)
        changes = [change for job in found if (change := transition.redriven(job.id, job.status))]
        return sum(verdict.accepted for verdict in await self._app.ledger.commit(changes))

    async def discard(self, ids: Sequence[str], reason: str) -> int:
        changes = [transition.discarded(job.id, reason) for job in await self._dead(ids)]
        return sum(verdict.accepted for verdict in await self._app.ledger.commit(changes))

    async def queues(self) -> list[Doc]:
        ledger, rules = self._app.ledger, self._app.rules
        await rules.read(ledger)
        none = dict.fromkeys(_LIVE, 0)
        workers = [json.loads(doc.doc) for doc in await ledger.docs("worker") if doc.lease_until]
        served = [name for worker in workers for name in worker.get("queues", ())]
        names = (*self._app.settings.queue_settings, *rules.named, *served)
        found = {name: dict(none) for name in names}
        for status in _LIVE:
            counts = await ledger.count(Filter(status=status), "queue")
            for (name, _), number in counts.items():
                found.setdefault(name, dict(none))[status] = number
        return [
            {"name": name, **rules.of(name).told(), "depth": found[name]} for name in sorted(found)
        ]

    async def change_queue(self, name: str, changes: Mapping[str, Any]) -> None:
        await change_queue(self._app, name, changes)

    async def schedules(self) -> list[Doc]:
        return await Schedules(self._app, None).all()

    async def schedule(self, name: str) -> Doc:
        return await self._app.schedules.get(name)

    async def put_schedule(self, name: str, spec: Mapping[str, Any], version: int) -> Doc:
        return (await self._app.schedules.put(name, spec, version=version))[0]

    async def change_schedule(self, name: str, verb: Literal["pause", "resume"]) -> Doc:
        act = self._app.schedules.pause if verb == "pause" else self._app.schedules.resume
        return await act(name)

    async def trigger_schedule(self, name: str) -> Doc:
        return await self.job((await self._app.schedules.trigger(name)).id)

    async def remove_schedule(self, name: str) -> None:
        await self._app.schedules.remove(name)

    async def preview_schedule(self, name: str, number: int) -> list[Doc]:
        ticks: list[Doc] = [dict(tick) for tick in await self._app.schedules.preview(name, number)]
        return ticks

    async def limits(self) -> list[Doc]:
        found = await all_limits(self._app.ledger)
        return [{"subject": subject, **found[subject]} for subject in found]

    async def set_limit(self, subject: str, said: Mapping[str, Any]) -> Doc:
        limit = await set_limit(self._app.ledger, subject, said)
        return {"subject": subject, **limit.shown(), "source": "live"}

    async def remove_limit(self, subject: str) -> None:
        await set_limit(self._app.ledger, subject, {})

    async def _dead(self, ids: Sequence[str]) -> list[JobRecord]:
        where = replace(DEAD, ids=tuple(ids))
        return await self._app.ledger.find(where, Page(limit=max(1, len(ids))))

    async def _page(self, where: Filter, limit: int, cursor: str | None) -> Listing:
        if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
            raise InvalidInputError(f"--cursor: expected a number, got {cursor!r:.60}")
        page = Page(limit=limit, after=int(cursor) if cursor else None)
        found = await self._app.ledger.find(where, page)
        full = len(found) == limit
        return [as_doc(job) for job in found], str(found[-1].number) if full else None

    async def _record(self, job_id: str) -> JobRecord:
        job = (await self._app.ledger.get([job_id]))[0] if is_uuid(job_id) else None
        if job is None:
            raise NotFoundError(f"there is no job {job_id!r:.80}", hint="outlast jobs lists them")
        return job


def _parsed(text: str | None) -> Any:
    return json.loads(text) if text and not moved(text) else None


def _time(us: int | None) -> str | None:
    return None if us is None else to_rfc3339(us)


def as_doc(job: JobRecord) -> Doc:
    """Write a job as the HTTP contract does, as far as a ledger alone can know it."""
    here = f"/v1/jobs/{job.id}"
    return {
        "id": job.id, "task": job.task, "queue": job.queue, "status": str(job.status),
        "done": job.status.terminal, "cancel_requested_at": _time(job.cancel_requested_at),
        "attempt": job.attempt, "max_attempts": job.max_attempts, "priority": job.priority,
        "tags": _parsed(job.tags), "progress": _parsed(job.progress),
        "position": None, "estimated_start_at": None, "estimated_finish_at": None,
        "submitted_at": _time(job.submitted_at), "run_at": _time(job.run_at),
        "started_at": _time(job.started_at), "finished_at": _time(job.finished_at),
        "result": _parsed(job.result), "error": _parsed(job.error),
        "artifacts": _parsed(job.artifacts), "workflow_id": None, "parent_id": None, "step": None,
        "links": {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"},
    }  # fmt: skip
