"""The routes that show jobs: one, a list, its result, files, attempts and logs."""

from dataclasses import replace
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.api.codec import NOWHERE, Place, address_of, answer, error_out, event_out, job_out
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.api.query import Problems, cursor_of, filter_of, number_of, page_of, wait_seconds
from outlast.api.submit import poll_after
from outlast.core.errors import ConflictError, gone
from outlast.core.instant import to_rfc3339
from outlast.core.job import Event, Filter, JobRecord
from outlast.core.limits import SECOND
from outlast.core.payload import moved
from outlast.core.status import Status

_PAGE: Final = 1_000
# Counting the jobs ahead reads each of them, so beyond this depth nobody is told.
_POSITION_DEPTH_MAX: Final = 50_000
_ENDS: Final = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "retrying": "failed",
    "heartbeat-lost": "lost",
    "released": "released",
}


class NotFinishedError(ConflictError):
    """There is no result yet, or there will be none."""

    code = "not-finished"


async def show(context: Context, request: Request, who: Caller) -> Response:
    """Show a job; with `Prefer: wait=N` and `If-None-Match`, when it has changed."""
    job = await context.job(request.path_params["id"], who)
    seconds, given = wait_seconds(request), request.headers.get("if-none-match")
    applied = bool(seconds) and not job.status.terminal and (given is None or _knows(given, job))
    if applied:
        with context.shares.holding(who):
            after = await context.watch.settled(job, seconds, ended=given is None)
        if after is None:
            raise gone(job.id)
        job = after
    headers = {"ETag": f'W/"{job.seq}"', "Cache-Control": "private, no-cache"}
    if applied:
        headers["Preference-Applied"] = f"wait={seconds}"
    now = context.clock.now_us()
    if not job.status.terminal:
        headers["Retry-After"] = poll_after(job.status, job.run_at - now)
    if given is not None and _knows(given, job):
        return Response(status_code=304, headers=headers)
    place = await place_of(context, job, who, now)
    shown = job_out(job, admin=who.admin, place=place)
    if moved(job.args):
        shown["args"] = None
        shown["links"]["args"] = f"{address_of(job.id)}/args"
    else:
        shown["args"] = from_json(job.args)
    return answer(shown, headers=headers)


def _knows(given: str, job: JobRecord) -> bool:
    """Whether If-None-Match names the job as it stands; the comparison is weak (RFC 9110)."""
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return f'"{job.seq}"' in tags or "*" in tags


async def place_of(context: Context, job: JobRecord, who: Caller, now: int) -> Place:
    """Return how many jobs are ahead, and when this one should start and end.

    A tenant's key counts that tenant's jobs alone, and measures by them.
    """
    if job.status.terminal:
        return NOWHERE
    figures = await context.overviews.one(job.queue, who.tenant)
    ahead, start = None, job.started_at
    if job.status is Status.SCHEDULED:
        start = job.run_at
    elif job.status is Status.PENDING:
        if figures.depth[Status.PENDING] > _POSITION_DEPTH_MAX:
            return NOWHERE
        ahead = (await context.ledger.count(Filter(ahead_of=job.id, tenant=who.tenant), ""))[()]
        wait = None if context.rules(job.queue).paused else figures.starts_in(ahead)
        start = None if wait is None else now + int(wait * SECOND)
    if start is None:
        return Place(ahead, None, None)
    takes = figures.takes(job.task, max(0, now - start) / SECOND)
    ends = None if takes is None else start + int(takes * SECOND)
    return Place(ahead, None if job.status is Status.PROCESSING else start, ends)


async def index(context: Context, request: Request, who: Caller) -> Response:
    """List jobs, newest first."""
    problems = Problems()
    veil, where = context.veil(who), filter_of(request.query_params, who, problems)
    page = page_of(request, problems, veil)
    problems.check()
    found = await context.ledger.find(where, replace(page, limit=page.limit + 1))
    shown = found[: page.limit]
    following = cursor_of(shown[-1].number, veil) if len(found) > page.limit else None
    return answer({"jobs": [job_out(job) for job in shown], "next": following})


async def result(context: Context, request: Request, who: Caller) -> Response:
    """Return the result alone."""
    job = await context.job(request.path_params["id"], who)
    if job.status is not Status.COMPLETED:
        raise NotFinishedError(
            f"job {job.id} has no result: it is {job.status}",
            hint=None if job.status.terminal else "wait for its end",
            job_status=job.status,
        )
    headers = {"ETag": f'W/"{job.seq}"', "Cache-Control": "private, no-cache"}
    text = await context.app.blobs.fetch(job.result or "null")
    return Response(text, headers=headers, media_type="application/json")


async def arguments(context: Context, request: Request, who: Caller) -> Response:
    """Return the arguments alone."""
    job = await context.job(request.path_params["id"], who)
    return Response(await context.app.blobs.fetch(job.args), media_type="application/json")


async def logs(context: Context, request: Request, who: Caller) -> Response:
    """Return the lines that the job logged, oldest first."""
    job = await context.job(request.path_params["id"], who)
    problems = Problems()
    after = number_of(request.query_params.get("after"), "after", problems) or 0
    problems.check()
    found = await context.ledger.history(job.id, after=after, limit=_PAGE, type="log")
    following = str(found[-1].seq) if len(found) == _PAGE else None
    return answer({"logs": [event_out(event) for event in found], "next": following})


async def attempts(context: Context, request: Request, who: Caller) -> Response:
    """Return each attempt: who ran it, from when to when, and how it ended."""
    job = await context.job(request.path_params["id"], who)
    told: list[Event] = []
    for kind in ("started", "redriven", *_ENDS):
        told += await context.ledger.history(job.id, type=kind)
    found = attempts_of(sorted(told, key=lambda event: event.seq), admin=who.admin)
    return answer({"attempts": found, "next": None})


def attempts_of(events: list[Event], *, admin: bool) -> list[dict[str, Any]]:
    """Derive the attempts from a job's history."""
    found: list[dict[str, Any]] = []
    run = 1
    for event in events:
        data = from_json(event.data)
        if event.type == "redriven":
            run += 1
        elif event.type == "started":
            found.append(
                {
                    "attempt": data["attempt"], "run": run, "token": data["token"],
                    "worker": data.get("worker"), "started_at": to_rfc3339(event.at),
                    "ended_at": None, "outcome": None, "error": None,
                }
            )  # fmt: skip
        elif found and found[-1]["ended_at"] is None:
            error = data.get("error")
            found[-1]["ended_at"] = to_rfc3339(event.at)
            found[-1]["outcome"] = _ENDS[event.type]
            found[-1]["error"] = error_out(error, admin=admin) if error else None
    return found
