"""The routes that take work in: one job, many jobs, one typed operation a task."""

from dataclasses import fields
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import address_of, answer, job_out, problem_body
from outlast.api.context import Context
from outlast.api.files import Uploads
from outlast.api.fresh import Written, record_of, written
from outlast.api.guard import Caller
from outlast.api.overview import Figures
from outlast.api.query import wait_seconds
from outlast.core.errors import (
    InvalidInputError,
    OutlastError,
)
from outlast.core.job import Inserted, NewJob
from outlast.core.limits import BATCH_MAX, SECOND, WAIT_SECONDS_MAX
from outlast.core.status import Status
from outlast.sdk.limits import limit_of
from outlast.sdk.refusals import RETRY_AFTER_S, refusal
from outlast.sdk.submission import NO_OPTIONS, Options, new_job

OPTIONS: Final = frozenset(item.name for item in fields(Options)) - {"key"}
_KNOWN: Final = OPTIONS | {"task", "args", "idempotency_key"}
_PLAIN: Final = frozenset({"task", "args"})
_REPEATS: Final[dict[str, dict[str, object]]] = {
    "duplicate": {"replayed": True},
    "existing": {"unique": "existing"},
    "replaced": {"unique": "replaced"},
}
_NO_ARGS: Final[dict[str, Any]] = {}


def build(context: Context, body: Any, who: Caller, header: str | None) -> NewJob:
    """Make a job of a submit body; raise InvalidInputError that lists all that is wrong."""
    if not isinstance(body, dict):
        raise _invalid([("", f"expected an object, got {body!r:.60}")])
    name, args = body.get("task"), body.get("args", _NO_ARGS)
    task = context.app.tasks.get(name) if isinstance(name, str) else None
    wrong: list[tuple[str, str]] = []
    if not body.keys() <= _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        unknown = sorted(body.keys() - _KNOWN)
        wrong += [(f"{name:.80}", f"no such field; known: {known}") for name in unknown]
    if task is None:
        tasks = ", ".join(sorted(context.app.tasks)) or "none"
        wrong.append(("task", f"expected a registered task ({tasks}), got {name!r:.80}"))
    if not isinstance(args, dict):
        wrong.append(("args", f"expected an object, got {args!r:.60}"))
    key = body.get("idempotency_key") if header is None else header
    if header is not None and body.get("idempotency_key") not in (None, header):
        wrong.append(("idempotency_key", "expected the value of the Idempotency-Key header"))
    if wrong or task is None:
        raise _invalid(wrong)
    options, queue = NO_OPTIONS, task.queue
    if key is not None or not body.keys() <= _PLAIN:
        given = {name: body[name] for name in OPTIONS if body.get(name) is not None}
        options = Options(**given, key=key)
        if isinstance(options.queue, str):
            queue = options.queue
    tenant = who.tenant or ""
    return new_job(task, args, options, tenant=tenant, max_depth=context.rules(queue).admits)


def _invalid(wrong: list[tuple[str, str]]) -> InvalidInputError:
    text = "; ".join(f"{path or 'job'}: {message}" for path, message in wrong[:5])
    errors = [{"path": path, "message": message} for path, message in wrong]
    return InvalidInputError(f"invalid request: {text}", errors=errors)


async def error_of(
    context: Context, job: NewJob, made: Inserted, who: Caller
) -> OutlastError | None:
    """Return the error that an insert's outcome stands for, with when it makes sense to try again.

    A tenant's places are freed by its own jobs, whatever the others do.
    """
    after, draining = RETRY_AFTER_S, False
    if made.outcome == "full":
        figures = await context.overviews.one(job.queue, who.tenant)
        after, draining = figures.retry_after(job.max_depth or 0), context.rules(job.queue).draining
    elif made.outcome == "quota":
        all_queues = (await context.overviews.all(job.tenant)).values()
        figures = Figures("", completions=sum(one.completions for one in all_queues))
        quota = (await limit_of(context.ledger, f"tenant:{job.tenant}")).max_depth
        after = figures.retry_after(quota or 0)
    return refusal(job, made, retry_after=after, draining=draining)


async def submit(context: Context, request: Request, who: Caller) -> Response:
    """Submit a job; `Prefer: wait=N` waits for its end."""
    return await _submit(context, request, who, await read_body(request))


async def submit_task(context: Context, request: Request, who: Caller) -> Response:
    """Submit a job of one task; the body is its arguments."""
    args = await read_body(request)
    return await _submit(context, request, who, {"task": request.path_params["task"], "args": args})


async def _submit(context: Context, request: Request, who: Caller, body: Any) -> Response:
    if "args" in body:
        body["args"] = await Uploads(context, who).resolve(body["args"])
    job = build(context, body, who, request.headers.get("idempotency-key"))
    (inserted,) = await context.app.insert([job])
    seconds = wait_seconds(request)
    if inserted.outcome == "created" and not seconds:
        return _created(job, inserted.at_us)
    headers = {"Location": address_of(inserted.id)}
    if inserted.outcome == "created":
        record = record_of(job, inserted.at_us)
    else:
        error = await error_of(context, job, inserted, who)
        if error is not None:
            raise error
        if inserted.outcome == "duplicate":
            headers["Idempotency-Replayed"] = "true"
        else:
            headers["Job-Unique"] = inserted.outcome
        record = await context.job(inserted.id, who)
    if seconds:
        with context.shares.holding(who):
            settled = await context.watch.settled(record, seconds, ended=True)
        record = settled or record
        headers["Preference-Applied"] = f"wait={seconds}"
    if not record.status.terminal:
        headers["Retry-After"] = poll_after(record.status, record.run_at - inserted.at_us)
    status = 200 if record.status.terminal else 202
    return answer(job_out(record, admin=who.admin), status, headers=headers)


def _created(job: NewJob, at_us: int) -> Response:
    delay_us = job.delay_us if job.run_at_us is None else job.run_at_us - at_us
    poll = poll_after(Status.SCHEDULED if delay_us > 0 else Status.PENDING, delay_us)
    location = address_of(job.id).encode()
    headers = [(b"location", location), (b"retry-after", poll.encode())]
    return Written(written(job, at_us), 202, headers)


def poll_after(status: Status, delay_us: int) -> str:
    """Return in how many seconds asking again makes sense; a scheduled job runs after a delay."""
    if status is not Status.SCHEDULED:
        return "1"
    return str(max(1, min(WAIT_SECONDS_MAX, delay_us // SECOND)))


async def submit_batch(context: Context, request: Request, who: Caller) -> Response:
    """Submit up to 1,000 jobs, each for itself or all or none."""
    entries, atomic = _read_batch(await read_body(request))
    made: list[NewJob | OutlastError] = []
    uploads = Uploads(context, who)
    for entry in entries:
        try:
            if isinstance(entry, dict) and "args" in entry:
                entry["args"] = await uploads.resolve(entry["args"])
            made.append(build(context, entry, who, None))
        except InvalidInputError as error:
            made.append(error)
    if atomic:
        _guard_all(made)
    jobs = [job for job in made if isinstance(job, NewJob)]
    inserted = iter(await context.app.insert(jobs, atomic=atomic) if jobs else [])
    shown: list[dict[str, Any]] = []
    for n, job in enumerate(made):
        if isinstance(job, OutlastError):
            shown.append({"problem": problem_body(job)})
            continue
        outcome = next(inserted)
        refused = await error_of(context, job, outcome, who)
        if refused is not None:
            made[n] = refused
            shown.append({"problem": problem_body(refused)})
        else:
            shown.append({"id": outcome.id, **_REPEATS.get(outcome.outcome, {})})
    if atomic:
        _guard_all(made)
    return answer({"jobs": shown}, 202)


def _read_batch(body: dict[str, Any]) -> tuple[list[Any], bool]:
    entries, atomic = body.get("jobs"), body.get("atomic", False)
    unknown = sorted(body.keys() - {"jobs", "atomic"})
    wrong = [(f"{name:.80}", "no such field; known: atomic, jobs") for name in unknown]
    if not isinstance(entries, list) or not 0 < len(entries) <= BATCH_MAX:
        got = len(entries) if isinstance(entries, list) else repr(entries)[:60]
        wrong.append(("jobs", f"expected a list of 1–{BATCH_MAX} jobs, got {got}"))
    if not isinstance(atomic, bool):
        wrong.append(("atomic", f"expected true or false, got {atomic!r:.60}"))
    if wrong or not isinstance(entries, list):
        raise _invalid(wrong)
    return entries, atomic


def _guard_all(made: list[NewJob | OutlastError]) -> None:
    """Refuse an atomic batch of which any part was refused; nothing of it is stored."""
    refused = [(n, error) for n, error in enumerate(made) if isinstance(error, OutlastError)]
    if refused:
        raise _none_stored(refused)


def _none_stored(refused: list[tuple[int, OutlastError]]) -> OutlastError:
    first = refused[0][1]
    if first.retryable:
        return first  # a fact about the queue or the tenant, not about the request: try later
    errors: list[dict[str, str]] = []
    for n, error in refused:
        parts: Any = error.facts.get("errors") or [{"path": "", "message": error.message}]
        errors += [
            {"path": f"jobs.{n}.{part['path']}".rstrip("."), "message": part["message"]}
            for part in parts
        ]
    listed = "; ".join(f"{e['path']}: {e['message']}" for e in errors[:5])
    return InvalidInputError(f"no job was stored: {listed}", errors=errors)
