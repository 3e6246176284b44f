"""The routes that change jobs: cancel, retry, change, forget; one or many."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import answer, job_out
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.api.query import FILTERS, Problems, filter_of
from outlast.core import transition
from outlast.core.errors import ConflictError
from outlast.core.job import Filter, JobRecord, Page, Transition
from outlast.core.limits import ANY_TIME, PAGE_MAX
from outlast.core.status import Status

Change = Callable[[JobRecord], Transition | None]


class AlreadyTerminalError(ConflictError):
    """The job has ended already."""

    code = "already-terminal"


async def _shown(context: Context, job_id: str, who: Caller) -> Response:
    return answer(job_out(await context.job(job_id, who), admin=who.admin), 202)


async def cancel(context: Context, request: Request, who: Caller) -> Response:
    """Ask a job to stop: at once when it was not started, else its worker stops it."""
    job = await context.job(request.path_params["id"], who)
    if job.status.terminal or await context.app.handle(job.id).cancel() == "too-late":
        job = await context.job(job.id, who)
        raise AlreadyTerminalError(
            f"job {job.id} has ended already: {job.status}", job_status=job.status
        )
    return await _shown(context, job.id, who)


async def retry(context: Context, request: Request, who: Caller) -> Response:
    """Run a failed or cancelled job again, with other `args` if some are given."""
    job = await context.job(request.path_params["id"], who)
    body = await read_body(request, optional=True)
    problems = Problems()
    problems.unknown(body, ("args",))
    args = body.get("args")
    if args is not None and not isinstance(args, dict):
        problems.say("args", f"expected an object, got {args!r:.60}")
    problems.check()
    await context.app.handle(job.id).retry(args)
    return await _shown(context, job.id, who)


async def forget(context: Context, request: Request, who: Caller) -> Response:
    """Forget a job that has ended, with its history and its files."""
    job = await context.job(request.path_params["id"], who)
    pruned = await context.ledger.prune(ANY_TIME, 1, ids=[job.id])
    if not pruned.jobs:
        raise ConflictError(
            f"job {job.id} can't be forgotten: it is {job.status}", hint="cancel it first"
        )
    await context.app.blobs.forget(job.id)
    return Response(status_code=204)


async def change(context: Context, request: Request, who: Caller) -> Response:
    """Change priority, run_at, queue or max_attempts of a job that isn't running."""
    body = await read_body(request)
    job = await context.job(request.path_params["id"], who)
    await context.app.handle(job.id).change(**body)
    return answer(job_out(await context.job(job.id, who), admin=who.admin))


async def each(
    context: Context, where: Filter, statuses: Iterable[Status], change_of: Change
) -> int:
    """Change every job that matches, oldest first; return how many were changed."""
    changed = 0
    for status in statuses:
        if where.status not in {None, status}:
            continue
        after: int | None = None
        # A job that is changed on the way can come back under a higher number: never twice here.
        newest = await context.ledger.find(replace(where, status=status), Page(limit=1))
        last = newest[0].number if newest else -1
        while True:
            page = Page(limit=PAGE_MAX, after=after, oldest_first=True)
            found = await context.ledger.find(replace(where, status=status), page)
            changes = [new for job in found if (new := change_of(job)) is not None]
            if changes:
                changed += sum(v.accepted for v in await context.ledger.commit(changes))
            if len(found) < PAGE_MAX or found[-1].number >= last:
                break
            after = found[-1].number
    return changed


def _bulk(
    name: str, statuses: tuple[Status, ...], change_of: Change
) -> Callable[[Context, Request, Caller], Awaitable[Response]]:
    async def run(context: Context, request: Request, who: Caller) -> Response:
        body = await read_body(request)
        problems = Problems()
        problems.unknown(body, FILTERS)
        if not any(body.get(name) is not None for name in FILTERS):
            problems.say("", f"expected a filter: some of {', '.join(FILTERS)}")
        where = filter_of(body, who, problems)
        if where.status is not None and where.status not in statuses:
            problems.say("status", f"expected one of {', '.join(statuses)}; got {where.status}")
        problems.check()
        return answer({name: await each(context, where, statuses, change_of)}, 202)

    return run


def _cancelled(job: JobRecord) -> Transition | None:
    return transition.cancel(job.id, job.status, reason="cancelled by request")


def _redriven(job: JobRecord) -> Transition | None:
    return transition.redriven(job.id, job.status)


def _discarded(job: JobRecord) -> Transition | None:
    return transition.discarded(job.id, "discarded by request")


cancel_many = _bulk(
    "cancelled", (Status.PENDING, Status.SCHEDULED, Status.WAITING, Status.PROCESSING), _cancelled
)
cancel_many.__doc__ = "Cancel every job that the filter matches."
retry_many = _bulk("retried", (Status.FAILED, Status.CANCELLED), _redriven)
retry_many.__doc__ = "Run every failed or cancelled job that the filter matches again."
discard_many = _bulk("discarded", (Status.FAILED,), _discarded)
discard_many.__doc__ = "Take every failed job that the filter matches off the dead letters."
