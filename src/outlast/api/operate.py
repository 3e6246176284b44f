"""The routes of operators: queues, workers, tasks, health, metrics."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import answer, problem
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.api.overview import Figures
from outlast.broker.relayed import publisher_of
from outlast.core.errors import ForbiddenError, OutlastError, UnavailableError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Filter, Page
from outlast.core.limits import LEASE_US, PAGE_MAX, SECOND
from outlast.core.queue import QueueRules
from outlast.core.status import Status
from outlast.ledger import Ledger
from outlast.sdk.queues import change_queue as change_rules

_LABELS_MAX: Final = 1_000


async def _known(context: Context, who: Caller) -> dict[str, Figures]:
    """Return the queues that the caller may know of: a tenant, its own and those of tasks."""
    found = await context.overviews.all(who.tenant)
    if who.tenant is not None:
        return found
    return {**{name: Figures(name) for name in context.named_queues()}, **found}


def _queue_out(
    figures: Figures, rules: QueueRules, workers: list[dict[str, Any]]
) -> dict[str, Any]:
    name, oldest = figures.name, figures.oldest_pending_us
    return {
        "name": name, **rules.told(), "depth": figures.depth,
        "oldest_pending_seconds": None if oldest is None else max(0, oldest) / SECOND,
        "arrivals_per_second": figures.arrivals, "completions_per_second": figures.completions,
        "wait_seconds": figures.quantiles(figures.waits),
        "run_seconds": figures.quantiles(figures.runs),
        "workers": sum(name in worker["queues"] for worker in workers),
    }  # fmt: skip


async def queues(context: Context, request: Request, who: Caller) -> Response:
    """List the queues: depth, rates, times, limits."""
    found, crew = await _known(context, who), await _presences(context, who)
    shown = [_queue_out(found[name], context.rules(name), crew) for name in sorted(found)]
    return answer({"queues": shown, "next": None})


async def queue(context: Context, request: Request, who: Caller) -> Response:
    """Show one queue."""
    name, found = request.path_params["q"], await _known(context, who)
    # What others use is to a tenant like what nobody uses.
    hidden = who.tenant is not None and name not in found
    rules = QueueRules() if hidden else context.rules(name)
    figures = found.get(name) or Figures(name)
    return answer(_queue_out(figures, rules, await _presences(context, who)))


async def change_queue(context: Context, request: Request, who: Caller) -> Response:
    """Pause, drain or bound a queue; null takes a bound away, and what is not named stays."""
    name, body = request.path_params["q"], await read_body(request)
    if who.tenant is not None:
        raise ForbiddenError("a queue is shared: a tenant's key can't change it")
    await change_rules(context.app, name, body)
    await context.refresh()
    return await queue(context, request, who)


async def scaling(context: Context, request: Request, who: Caller) -> Response:
    """Say how many workers a queue needs, in the form that KEDA's metrics-api scaler reads."""
    figures = await context.overviews.one(request.path_params["q"], who.tenant)
    crew = await _presences(context, who)
    slots = [worker["concurrency"] for worker in crew if figures.name in worker["queues"]]
    each = sum(slots) // len(slots) if slots else context.app.settings.concurrency
    return answer(
        {
            "desired_workers": figures.desired_workers(each),
            "depth": figures.depth[Status.PENDING],
            "oldest_seconds": max(0, figures.oldest_pending_us or 0) / SECOND,
        }
    )


async def _presences(context: Context, who: Caller) -> list[dict[str, Any]]:
    """Return the workers that are alive, with the time of their last heartbeat.

    A tenant is shown those that work on its queues, and no other queue of theirs.
    """
    now = context.clock.now_us()
    found = [
        {**from_json(doc.doc), "last_heartbeat_at": to_rfc3339(doc.lease_until - LEASE_US)}
        for doc in await context.ledger.docs("worker")
        if doc.lease_until and doc.lease_until > now
    ]
    if who.tenant is not None:
        known = await _known(context, who)
        for worker in found:
            worker["queues"] = [name for name in worker["queues"] if name in known]
        found = [worker for worker in found if worker["queues"]]
    return found


async def workers(context: Context, request: Request, who: Caller) -> Response:
    """List the living workers and what they are processing."""
    found = await _presences(context, who)
    for worker in found:
        where = Filter(holder=worker["id"], tenant=who.tenant)
        held = await context.ledger.find(where, Page(limit=PAGE_MAX))
        worker["processing"] = [job.id for job in held]
    return answer({"workers": found, "next": None})


async def tasks(context: Context, request: Request, who: Caller) -> Response:
    """List the registered tasks with the JSON Schemas of arguments and results."""
    found = [
        {
            "name": task.name,
            "queue": task.queue,
            "max_attempts": task.policy.max_attempts,
            "timeout_seconds": task.policy.timeout_us and task.policy.timeout_us / SECOND,
            "priority": task.policy.priority,
            "description": (task.fn.__doc__ or "").strip() or None,
            "args": task.args_schema(),
            "result": task.result_schema(),
        }
        for task in context.app.tasks.values()
    ]
    return answer({"tasks": found, "next": None})


async def healthz(context: Context, request: Request) -> Response:
    """Say that the process lives."""
    return answer({"status": "ok"})


async def readyz(context: Context, request: Request) -> Response:
    """Say whether the ledger answers and is migrated."""
    try:
        await context.ledger.count(Filter(ids=()), "")
        await context.ledger.docs("queue", "")
    except OutlastError as error:
        return problem(UnavailableError(error.message), request.url.path)
    return answer({"status": "ok"})


async def metrics(context: Context, request: Request, who: Caller) -> Response:
    """Export figures in Prometheus' text format."""
    figures = list((await context.overviews.all(who.tenant)).values())[:_LABELS_MAX]
    lines = _gauge("outlast_jobs", "Jobs that have not ended, by queue and status.")
    for one in figures:
        lines += [
            f'outlast_jobs{{queue="{_label(one.name)}",status="{status}"}} {number}'
            for status, number in one.depth.items()
        ]
    lines += _gauge("outlast_oldest_pending_seconds", "How long the oldest pending job has waited.")
    for one in figures:
        seconds = max(0, one.oldest_pending_us or 0) / SECOND
        lines.append(f'outlast_oldest_pending_seconds{{queue="{_label(one.name)}"}} {seconds}')
    lines += _gauge("outlast_completions_per_second", "Jobs ended a second, in the last minute.")
    for one in figures:
        lines.append(
            f'outlast_completions_per_second{{queue="{_label(one.name)}"}} {one.completions}'
        )
    dead = Filter(tenant=who.tenant, status=Status.FAILED, discarded=False)
    lines += _gauge("outlast_dead_letters", "Failed jobs not yet redriven or discarded.")
    lines.append(f"outlast_dead_letters {(await context.ledger.count(dead, ''))[()]}")
    lines += _gauge(
        "outlast_dead_letters_last_hour", "Dead letters of the last hour, by queue and error."
    )
    deaths = await context.overviews.deaths(who.tenant)
    grown = Counter((death.queue, death.kind) for death in deaths)
    for (name, kind), number in grown.most_common(_LABELS_MAX):
        labels = f'queue="{_label(name)}",kind="{_label(kind)}"'
        lines.append(f"outlast_dead_letters_last_hour{{{labels}}} {number}")
    lines += _gauge("outlast_workers", "Living workers.")
    lines.append(f"outlast_workers {len(await _presences(context, who))}")
    if who.tenant is None:
        lines += _of_server(context)
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _of_server(context: Context) -> list[str]:
    """Tell what all tenants share, which none of them is told."""
    lines = _log(context.app.settings.ledger) + _tickets(context.app.ledger)
    lines += ["# HELP outlast_http_requests_total Requests answered by this process."]
    lines += ["# TYPE outlast_http_requests_total counter"]
    for (method, path, status), number in sorted(context.requests.items()):
        lines.append(
            f'outlast_http_requests_total{{method="{method}",route="{_label(path)}",'
            f'status="{status}"}} {number}'
        )
    return lines


def _tickets(ledger: Ledger) -> list[str]:
    """Say how many tickets this process has given to each broker, and lost on the way."""
    publisher = publisher_of(ledger)
    if publisher is None:
        return []
    lines = _gauge("outlast_broker_up", "Whether a broker took the last tickets of this process.")
    given = [
        "# HELP outlast_broker_tickets_total Tickets that this process published, or dropped.",
        "# TYPE outlast_broker_tickets_total counter",
    ]
    for name, (published, dropped, is_up) in publisher.figures.items():
        label = f'broker="{_label(name)}"'
        lines.append(f"outlast_broker_up{{{label}}} {int(is_up)}")
        for outcome, number in (("published", published), ("dropped", dropped)):
            given.append(f'outlast_broker_tickets_total{{{label},outcome="{outcome}"}} {number}')
    return [*lines, *given]


def _log(ledger: str) -> list[str]:
    """Say how large SQLite's log is: it grows for as long as some program keeps an old view."""
    log = Path(f"{ledger.removeprefix('sqlite:///')}-wal")
    if not log.exists():
        return []
    about = _gauge("outlast_ledger_log_bytes", "Size of the ledger's write-ahead log.")
    return [*about, f"outlast_ledger_log_bytes {log.stat().st_size}"]


def _gauge(name: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge"]


def _label(text: str) -> str:
    """Write a name so that it ends no line early and moves no terminal's cursor."""
    plain = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
