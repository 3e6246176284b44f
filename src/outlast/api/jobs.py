"""The routes of jobs: submit, watch, act."""

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from outlast.api.codec import answer, event_out, job_out, read_body
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.core import transition
from outlast.core.errors import (
    ConflictError,
    InvalidInputError,
    KeyReusedError,
    NotFoundError,
    OutlastError,
    QueueFullError,
)
from outlast.core.instant import from_rfc3339
from outlast.core.job import Filter, JobRecord, NewJob, Page
from outlast.core.limits import BATCH_MAX, PAGE_DEFAULT, PAGE_MAX, WAIT_SECONDS_MAX
from outlast.core.status import Status
from outlast.sdk.submission import NO_OPTIONS, Options, new_job

_OPTIONS = frozenset(field.name for field in fields(Options)) - {"key"}
_KNOWN = _OPTIONS | {"task", "args", "idempotency_key"}
_QUIET_S = 15.0


def build(context: Context, body: dict[str, Any], who: Caller, key: str | None) -> NewJob:
    """Make a job of a submit body; raise InvalidInputError that lists all that is wrong."""
    errors = [
        {"path": name, "message": f"no such field; known: {', '.join(sorted(_KNOWN))}"}
        for name in body.keys() - _KNOWN
    ]
    name, args = body.get("task"), body.get("args", {})
    task = context.app.tasks.get(name) if isinstance(name, str) else None
    if task is None:
        known = ", ".join(sorted(context.app.tasks))
        errors.append({"path": "task", "message": f"expected one of {known}; got {name!r:.80}"})
    if not isinstance(args, dict):
        errors.append({"path": "args", "message": f"expected an object, got {args!r:.60}"})
    if errors or task is None:
        raise InvalidInputError(
            "; ".join(f"{e['path']}: {e['message']}" for e in errors), errors=errors
        )
    given = {name: body[name] for name in _OPTIONS if body.get(name) is not None}
    key = key or body.get("idempotency_key")
    options = Options(**given, key=key) if given or key else NO_OPTIONS
    queue = given.get("queue") or task.queue
    return new_job(
        task,
        args,
        options,
        tenant=who.tenant or "",
        max_depth=context.max_depth(queue if isinstance(queue, str) else task.queue),
    )


def refusal(job: NewJob, outcome: str, first: str) -> OutlastError | None:
    """Return the error that an insert's outcome stands for."""
    if outcome == "conflict":
        return KeyReusedError(
            f"idempotency key {job.key!r:.80} was used for another request, job {first}",
            hint="use a new key for a new request",
            job_id=first,
        )
    if outcome == "full":
        return QueueFullError(
            f"queue {job.queue} has its limit of {job.max_depth} waiting jobs",
            hint="try again later",
            retry_after=5,
            queue=job.queue,
        )
    return None


def wait_seconds(request: Request) -> float:
    """Read `Prefer: wait=N` (RFC 7240)."""
    for part in request.headers.get("prefer", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "wait" and value.isdigit():
            return float(min(int(value), WAIT_SECONDS_MAX))
    return 0.0


async def submit(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/jobs` and `POST /v1/tasks/{task}/jobs`."""
    body = await read_body(request)
    if "task" in request.path_params:
        body = {"task": request.path_params["task"], "args": body}
    job = build(context, body, who, request.headers.get("idempotency-key"))
    (inserted,) = await context.ledger.insert([job])
    error = refusal(job, inserted.outcome, inserted.id)
    if error is not None:
        raise error
    record = await context.job(inserted.id, who)
    headers = {"Location": f"/v1/jobs/{record.id}", "Retry-After": "1"}
    if inserted.outcome == "duplicate":
        headers["Idempotency-Replayed"] = "true"
    seconds = wait_seconds(request)
    if seconds:
        record = await context.watch.job(record, seconds)
        headers["Preference-Applied"] = f"wait={int(seconds)}"
    if record.status.terminal:
        del headers["Retry-After"]
    status = 200 if record.status.terminal else 202
    return answer(job_out(record, admin=who.admin), status, headers=headers)


async def submit_batch(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/jobs/batch`."""
    body = await read_body(request)
    entries = body.get("jobs")
    if not isinstance(entries, list) or not 0 < len(entries) <= BATCH_MAX:
        message = f"expected a list of 1–{BATCH_MAX} jobs"
        raise InvalidInputError(f"jobs: {message}", errors=[{"path": "jobs", "message": message}])
    atomic = body.get("atomic") is True
    built: list[NewJob | InvalidInputError] = []
    for entry in entries:
        try:
            built.append(build(context, entry if isinstance(entry, dict) else {}, who, None))
        except InvalidInputError as error:
            built.append(error)
    wrong = [(n, e) for n, e in enumerate(built) if isinstance(e, InvalidInputError)]
    if atomic and wrong:
        raise InvalidInputError(
            f"jobs.{wrong[0][0]}: {wrong[0][1]}; nothing was stored",
            errors=[{"path": f"jobs.{n}", "message": str(e)} for n, e in wrong],
        )
    good = [job for job in built if isinstance(job, NewJob)]
    outcomes = iter(await context.ledger.insert(good, atomic=atomic) if good else [])
    answers: list[dict[str, Any]] = []
    for job in built:
        if isinstance(job, InvalidInputError):
            answers.append({"problem": {"code": job.code, "detail": str(job), **job.facts}})
            continue
        inserted = next(outcomes)
        refused = refusal(job, inserted.outcome, inserted.id)
        if refused is not None and atomic:
            raise refused
        if refused is None:
            answers.append({"id": inserted.id})
        else:
            answers.append(
                {"problem": {"code": refused.code, "detail": str(refused), **refused.facts}}
            )
    return answer({"jobs": answers}, 202)


async def show(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs/{id}`, with ETag and long poll."""
    job = await context.job(request.path_params["id"], who)
    seconds, known = wait_seconds(request), request.headers.get("if-none-match")
    if seconds and known in {None, f'"{job.seq}"'}:
        job = await context.watch.job(job, seconds, seq=job.seq if known else None)
    headers = {"ETag": f'"{job.seq}"', "Cache-Control": "no-cache"}
    if known == f'"{job.seq}"':
        return Response(status_code=304, headers=headers)
    if not job.status.terminal:
        headers["Retry-After"] = "1"
    return answer(job_out(job, admin=who.admin), headers=headers)


def filter_of(values: Any, who: Caller) -> Filter:
    """Read a filter from a query or a body; raise InvalidInputError for a value that is none."""
    status = values.get("status")
    if status is not None and status not in set(Status):
        message = f"expected one of {', '.join(Status)}; got {status!r:.60}"
        raise InvalidInputError(
            f"status: {message}", errors=[{"path": "status", "message": message}]
        )

    def instant(name: str) -> int | None:
        return from_rfc3339(values[name], field=name) if values.get(name) else None

    return Filter(
        tenant=who.tenant,
        status=Status(status) if status else None,
        queue=values.get("queue"),
        task=values.get("task"),
        tag=values.get("tag"),
        text=values.get("q"),
        submitted_after=instant("submitted_after"),
        submitted_before=instant("submitted_before"),
    )


def page_of(request: Request) -> Page:
    """Read `limit` and `cursor`."""
    limit, cursor = (request.query_params.get(name) for name in ("limit", "cursor"))
    for name, value in (("limit", limit), ("cursor", cursor)):
        if value is not None and not (value.isascii() and value.isdigit() and len(value) < 16):  # noqa: PLR2004 - digits of 2^53
            raise InvalidInputError(
                f"{name}: expected a number, got {value!r:.60}",
                errors=[{"path": name, "message": "expected a number"}],
            )
    size = min(int(limit or PAGE_DEFAULT), PAGE_MAX)
    return Page(limit=max(1, size), after=int(cursor) if cursor else None)


async def index(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs`."""
    page = page_of(request)
    found = await context.ledger.find(filter_of(request.query_params, who), page)
    cursor = str(found[-1].number) if len(found) == page.limit else None
    return answer({"jobs": [job_out(job, admin=who.admin) for job in found], "next": cursor})


async def events(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs/{id}/events`, as JSON or as server-sent events."""
    job = await context.job(request.path_params["id"], who)
    given = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    after = int(given) if given.isascii() and given.isdigit() else 0
    if "text/event-stream" not in request.headers.get("accept", ""):
        found = await context.ledger.history(job.id, after=after)
        return answer({"events": [event_out(e, admin=who.admin) for e in found], "next": None})

    async def stream() -> AsyncIterator[bytes]:
        async for event in context.watch.events(job, after, _QUIET_S):
            if event is None:
                yield b": still here\n\n"
                continue
            data = to_json(event_out(event, admin=who.admin)["data"])
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), data)

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), headers=headers, media_type="text/event-stream")


async def typed_events(context: Context, request: Request, who: Caller, type_: str) -> Response:
    """Return the events of one type."""
    job = await context.job(request.path_params["id"], who)
    after = request.query_params.get("after", "0")
    found = await context.ledger.history(
        job.id, after=int(after) if after.isdigit() else 0, type=type_
    )
    return answer({f"{type_}s": [event_out(event) for event in found], "next": None})


async def logs(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs/{id}/logs`."""
    return await typed_events(context, request, who, "log")


async def result(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs/{id}/result`."""
    job = await context.job(request.path_params["id"], who)
    if job.status is not Status.COMPLETED:
        error = ConflictError(f"job {job.id} has no result: it is {job.status}")
        error.code = "not-finished"
        raise error
    return Response(job.result or "null", media_type="application/json")


async def artifact(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/jobs/{id}/artifacts/{name}`."""
    job = await context.job(request.path_params["id"], who)
    name = request.path_params["name"]
    for entry in from_json(job.artifacts):
        path = context.app.blobs.path(entry["blob"]) if entry["name"] == name else None
        if path is not None:
            return FileResponse(
                path,
                media_type=entry["media_type"],
                filename=name.rpartition("/")[2],
                headers={
                    "ETag": f'"{entry["sha256"]}"',
                    "X-Content-Type-Options": "nosniff",
                    "Content-Security-Policy": "sandbox",
                },
            )
    raise NotFoundError(f"job {job.id} has no artifact {name!r:.80}")


async def cancel(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/jobs/{id}/cancel`."""
    job = await context.job(request.path_params["id"], who)
    try:
        await context.app.handle(job.id).cancel()
    except ConflictError as error:
        error.code = "already-terminal"
        raise
    return answer(job_out(await context.job(job.id, who), admin=who.admin), 202)


async def retry(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/jobs/{id}/retry`."""
    job = await context.job(request.path_params["id"], who)
    await context.app.handle(job.id).retry()
    return answer(job_out(await context.job(job.id, who), admin=who.admin), 202)


async def forget(context: Context, request: Request, who: Caller) -> Response:
    """`DELETE /v1/jobs/{id}`."""
    job = await context.job(request.path_params["id"], who)
    if not job.status.terminal:
        raise ConflictError(f"job {job.id} can't be forgotten: it is {job.status}")
    await context.ledger.prune(0, 1, ids=[job.id])
    return Response(status_code=204)


async def dead(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/dead-letters`."""
    page = page_of(request)
    where = Filter(tenant=who.tenant, status=Status.FAILED, discarded=False)
    found = await context.ledger.find(where, page)
    if request.query_params.get("group") == "error":
        counts = await context.ledger.count(where, "error")
        samples: dict[str, JobRecord] = {}
        for job in found:
            samples.setdefault(from_json(job.error or "{}").get("fingerprint", ""), job)
        groups = [
            {
                "fingerprint": key[0],
                "count": n,
                "sample": job_out(samples[key[0]])["error"] if key[0] in samples else None,
            }
            for key, n in sorted(counts.items(), key=lambda item: -item[1])
        ]
        return answer({"dead_letters": groups, "next": None})
    cursor = str(found[-1].number) if len(found) == page.limit else None
    return answer({"dead_letters": [job_out(job) for job in found], "next": cursor})


async def _dead_jobs(context: Context, request: Request, who: Caller) -> list[JobRecord]:
    body = await read_body(request)
    ids = body.get("ids")
    if ids is not None:
        if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
            raise InvalidInputError("ids: expected a list of job IDs")
        where = Filter(ids=tuple(ids), tenant=who.tenant, status=Status.FAILED, discarded=False)
        return await context.ledger.find(where, Page(limit=max(1, len(ids))))
    base = filter_of({**body, "status": "failed"}, who)
    return await context.ledger.find(base, Page(limit=BATCH_MAX, oldest_first=True))


async def redrive(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/dead-letters/redrive`."""
    jobs = await _dead_jobs(context, request, who)
    changes = [c for job in jobs if (c := transition.redriven(job.id, job.status))]
    verdicts = await context.ledger.commit(changes)
    return answer({"redriven": sum(v.accepted for v in verdicts)}, 202)


async def discard(context: Context, request: Request, who: Caller) -> Response:
    """`POST /v1/dead-letters/discard`."""
    jobs = await _dead_jobs(context, request, who)
    changes = [transition.discarded(job.id, "discarded by request") for job in jobs]
    verdicts = await context.ledger.commit(changes)
    return answer({"discarded": sum(v.accepted for v in verdicts)}, 202)
