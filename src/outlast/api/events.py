"""The routes of histories: events as JSON, or as a live stream (server-sent events)."""

from collections.abc import AsyncIterator
from typing import Any, Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.api.codec import answer, event_out
from outlast.api.context import Context
from outlast.api.fair import HeldStream
from outlast.api.guard import Caller
from outlast.api.query import Problems, number_of
from outlast.core.job import Event
from outlast.core.limits import PAGE_MAX

QUIET_S: Final = 15.0
_PAGE: Final = 1_000
_SCANNED_MAX: Final = 20_000  # events looked at for one page of a filtered list
_STILL_HERE: Final = b": still here\n\n"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: Final = "text/event-stream"


def _after(request: Request) -> int:
    """Read where a stream or list goes on: Last-Event-ID, or `after`."""
    problems = Problems()
    given = request.headers.get("last-event-id") or request.query_params.get("after")
    after = number_of(given, "after", problems)
    problems.check()
    return after or 0


def _wants_stream(request: Request) -> bool:
    return _STREAM in request.headers.get("accept", "")


def frame(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """Write one event as the stream carries it; JSON has no raw line break to end it early."""
    body = to_json(data, inf_nan_mode="null")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), body)


async def of_job(context: Context, request: Request, who: Caller) -> Response:
    """Return a job's history, or follow it live."""
    job = await context.job(request.path_params["id"], who)
    after = _after(request)
    if not _wants_stream(request):
        found = await context.ledger.history(job.id, after=after, limit=_PAGE)
        following = str(found[-1].seq) if len(found) == _PAGE else None
        shown = [event_out(event, admin=who.admin) for event in found]
        return answer({"events": shown, "next": following})

    async def stream() -> AsyncIterator[bytes]:
        async for event in context.watch.follow(job, after, QUIET_S):
            await context.fresh()
            if not context.still_valid(who):
                return
            if event is None:
                yield _STILL_HERE
                continue
            shown = event_out(event, admin=who.admin)
            yield frame(event.seq, event.type, {**shown["data"], "at": shown["at"]})

    return HeldStream(context.shares, who, stream(), headers=_HEADERS, media_type=_STREAM)


class _Sieve:
    """Lets through the events that the caller may see and asked for."""

    def __init__(self, context: Context, request: Request, who: Caller) -> None:
        self._context = context
        self._who = who
        self._veil = context.veil(who)
        query = request.query_params
        self._queue, self._task, self._type = (query.get(n) for n in ("queue", "task", "type"))

    async def __call__(self, events: list[Event]) -> list[dict[str, Any]]:
        if self._type is not None:
            events = [event for event in events if event.type == self._type]
        if self._who.tenant is None and self._queue is None and self._task is None:
            return [self._shown(event) for event in events]
        ids = sorted({event.job_id for event in events})
        may: set[str] = set()
        for start in range(0, len(ids), PAGE_MAX):
            for job in await self._context.ledger.get(ids[start : start + PAGE_MAX]):
                if job is not None and self._lets(job.tenant, job.queue, job.task):
                    may.add(job.id)
        return [self._shown(event) for event in events if event.job_id in may]

    def _lets(self, tenant: str, queue: str, task: str) -> bool:
        return (
            self._who.tenant in {None, tenant}
            and self._queue in {None, queue}
            and self._task in {None, task}
        )

    def _shown(self, event: Event) -> dict[str, Any]:
        position = self._veil.hide(event.position)
        return {"position": position, **event_out(event, admin=self._who.admin)}


async def of_all(context: Context, request: Request, who: Caller) -> Response:
    """Return what happened to all jobs that the key may see, or follow it live."""
    sieve, veil = _Sieve(context, request, who), context.veil(who)
    after = veil.shown(_after(request))
    if not _wants_stream(request):
        found: list[dict[str, Any]] = []
        following: str | None = None
        for _ in range(_SCANNED_MAX // _PAGE):
            page = await context.ledger.history(None, after=after, limit=_PAGE)
            found += await sieve(page)
            following = str(veil.hide(page[-1].position)) if len(page) == _PAGE else None
            if following is None or len(found) >= _PAGE:
                break
            after = page[-1].position
        return answer({"events": found, "next": following})

    async def stream() -> AsyncIterator[bytes]:
        async for batch in context.watch.follow_all(after, QUIET_S):
            await context.fresh()
            if not context.still_valid(who):
                return
            if not batch:
                yield _STILL_HERE
            for shown in await sieve(batch):
                about = {name: shown[name] for name in ("job_id", "seq", "at")}
                yield frame(shown["position"], shown["type"], {**shown["data"], **about})

    return HeldStream(context.shares, who, stream(), headers=_HEADERS, media_type=_STREAM)
