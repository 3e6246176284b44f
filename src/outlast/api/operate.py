"""The routes of operators: queues, workers, tasks, health, metrics."""

from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.api.codec import answer, read_body
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.core.errors import InvalidInputError, OutlastError
from outlast.core.job import Filter, JobRecord, Page
from outlast.core.limits import MINUTE, SECOND
from outlast.core.status import Status
from outlast.system import CLOCK

_SAMPLE = 200
_LIVE = ("scheduled", "pending", "processing", "waiting")
_SETTINGS = frozenset({"paused", "max_depth"})


def _quantiles(values: list[float]) -> dict[str, float | None]:
    ranked = sorted(values)
    if not ranked:
        return {"p50": None, "p95": None}
    return {"p50": ranked[len(ranked) // 2], "p95": ranked[int(len(ranked) * 0.95)]}


def _rate(instants: list[int], now: int) -> float:
    """Return events a second over the last minute, or over the sample when that is shorter."""
    recent = [at for at in instants if at > now - MINUTE]
    span = MINUTE if len(recent) < _SAMPLE else max(now - min(recent), SECOND)
    return round(len(recent) * SECOND / span, 3)


async def _queue(
    context: Context, name: str, counts: dict[tuple[str, ...], int], who: Caller
) -> dict[str, Any]:
    now = CLOCK.now_us()
    find = context.ledger.find
    recent = await find(Filter(queue=name, tenant=who.tenant), Page(limit=_SAMPLE))
    where = Filter(queue=name, tenant=who.tenant, status=Status.COMPLETED)
    ended = await find(where, Page(limit=_SAMPLE))
    oldest = await find(
        Filter(queue=name, tenant=who.tenant, status=Status.PENDING), Page(1, oldest_first=True)
    )
    settings = await context.ledger.docs("queue", name)
    doc = from_json(settings[0].doc) if settings else {}
    workers = [w for w in await _workers(context) if name in w["queues"]]
    started: list[JobRecord] = [job for job in ended if job.started_at and job.finished_at]
    return {
        "name": name, "paused": bool(doc.get("paused")),
        "depth": {status: counts.get((name, status), 0) for status in _LIVE},
        "oldest_pending_seconds": (now - oldest[0].submitted_at) / SECOND if oldest else None,
        "arrivals_per_second": _rate([job.submitted_at for job in recent], now),
        "completions_per_second": _rate([job.finished_at or 0 for job in ended], now),
        "wait_seconds": _quantiles([((j.started_at or 0) - j.run_at) / SECOND for j in started]),
        "run_seconds": _quantiles(
            [((j.finished_at or 0) - (j.started_at or 0)) / SECOND for j in started]
        ),
        "max_depth": context.max_depth(name), "max_duration": None, "concurrency": None,
        "rate_limit": None, "workers": len(workers),
    }  # fmt: skip


async def queues(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/queues`."""
    counts = await context.ledger.count(Filter(tenant=who.tenant), "queue")
    names = {key[0] for key in counts} | {task.queue for task in context.app.tasks.values()}
    found = [await _queue(context, name, counts, who) for name in sorted(names)]
    return answer({"queues": found, "next": None})


async def queue(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/queues/{q}`."""
    name = request.path_params["q"]
    counts = await context.ledger.count(Filter(tenant=who.tenant, queue=name), "queue")
    return answer(await _queue(context, name, counts, who))


async def change_queue(context: Context, request: Request, who: Caller) -> Response:
    """`PATCH /v1/queues/{q}`."""
    name, body = request.path_params["q"], await read_body(request)
    errors = [
        {"path": field, "message": f"expected one of {', '.join(sorted(_SETTINGS))}"}
        for field in body.keys() - _SETTINGS
    ]
    if not isinstance(body.get("paused", False), bool):
        errors.append({"path": "paused", "message": "expected true or false"})
    depth = body.get("max_depth")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        errors.append({"path": "max_depth", "message": "expected a whole number or null"})
    if errors:
        text = "; ".join(f"{e['path']}: {e['message']}" for e in errors)
        raise InvalidInputError(text, errors=errors)
    found = await context.ledger.docs("queue", name)
    merged = {**(from_json(found[0].doc) if found else {}), **body}
    await context.ledger.put("queue", name, to_json(merged).decode())
    await context.refresh()
    return await queue(context, request, who)


async def _workers(context: Context) -> list[dict[str, Any]]:
    found = []
    for doc in await context.ledger.docs("worker"):
        if doc.lease_until:
            jobs = await context.ledger.find(Filter(holder=doc.key), Page(limit=_SAMPLE))
            found.append(
                {
                    **from_json(doc.doc),
                    "last_heartbeat_at": None,
                    "processing": [job.id for job in jobs],
                }
            )
    return found


async def workers(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/workers`."""
    return answer({"workers": await _workers(context), "next": None})


async def tasks(context: Context, request: Request, who: Caller) -> Response:
    """`GET /v1/tasks`."""
    found = [
        {
            "name": task.name,
            "queue": task.queue,
            "max_attempts": task.policy.max_attempts,
            "args": task.args_schema(),
            "result": task.result_schema(),
        }
        for task in context.app.tasks.values()
    ]
    return answer({"tasks": found, "next": None})


async def healthz(context: Context, request: Request) -> Response:
    """`GET /healthz`: the process lives."""
    return answer({"status": "ok"})


async def readyz(context: Context, request: Request) -> Response:
    """`GET /readyz`: the ledger answers and is migrated."""
    try:
        await context.ledger.count(Filter(ids=()), "")
    except OutlastError as error:
        return answer({"status": "unavailable", "detail": error.message}, 503)
    return answer({"status": "ok"})


async def metrics(context: Context, request: Request, who: Caller) -> Response:
    """`GET /metrics`, in Prometheus' text format."""
    counts = await context.ledger.count(Filter(), "queue")
    lines = ["# HELP outlast_jobs Jobs by queue and status.", "# TYPE outlast_jobs gauge"]
    for (name, status), n in sorted(counts.items()):
        label = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'outlast_jobs{{queue="{label}",status="{status}"}} {n}')
    alive = len(await _workers(context))
    lines += ["# HELP outlast_workers Living workers.", "# TYPE outlast_workers gauge"]
    lines.append(f"outlast_workers {alive}")
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
