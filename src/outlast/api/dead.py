"""The routes of dead letters: failed jobs that nobody has redriven or discarded yet."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import answer, error_out, job_out, time_out
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.api.query import FILTERS, Problems, cursor_of, filter_of, page_of
from outlast.core import transition
from outlast.core.identity import is_uuid
from outlast.core.job import Filter, JobRecord, Page, Transition
from outlast.core.limits import BATCH_MAX, DAY, PAGE_MAX, SECOND
from outlast.core.status import Status
from outlast.sdk.dead import DEAD, groups_of

_FILTERS: Final = tuple(name for name in FILTERS if name != "status")
_RATE_MAX: Final = 100_000


async def index(context: Context, request: Request, who: Caller) -> Response:
    """List dead letters; `group=error` counts them by error."""
    problems = Problems()
    query = request.query_params
    where = _where(query, who, problems)
    veil = context.veil(who)
    page = page_of(request, problems, veil)
    group = query.get("group")
    if group not in {None, "error"}:
        problems.say("group", f"expected error, got {group!r:.60}")
    problems.check()
    if group is not None:
        groups = [g.told(_error_out, time_out) for g in await groups_of(context.ledger, where)]
        return answer({"dead_letters": groups, "next": None})
    found = await context.ledger.find(where, replace(page, limit=page.limit + 1))
    shown = found[: page.limit]
    following = cursor_of(shown[-1].number, veil) if len(found) > page.limit else None
    jobs = [job_out(job) for job in shown]
    return answer({"dead_letters": jobs, "next": following})


def _error_out(text: str) -> dict[str, Any]:
    return error_out(from_json(text), admin=False)


def _where(given: Any, who: Caller, problems: Problems) -> Filter:
    chosen = filter_of(given, who, problems, status=DEAD.status)
    return replace(
        chosen, discarded=DEAD.discarded, fingerprint=problems.text(given, "fingerprint")
    )


async def _act(
    context: Context,
    request: Request,
    who: Caller,
    change_of: Callable[[JobRecord, Mapping[str, Any]], Transition | None],
    also: tuple[str, ...] = (),
) -> int:
    """Change the dead letters that the body names by ID or by filter; `rate` spreads them."""
    body = await read_body(request)
    problems = Problems()
    problems.unknown(body, ("ids", "fingerprint", "rate", *also, *_FILTERS))
    problems.text(body, "reason")
    ids, rate = body.get("ids"), body.get("rate")
    where = _where(body, who, problems)
    if ids is None and not any(body.get(name) is not None for name in (*_FILTERS, "fingerprint")):
        problems.say("ids", "expected a list of job IDs, or a filter")
    if ids is not None:
        if not isinstance(ids, list) or len(ids) > BATCH_MAX or not all(map(_is_id, ids)):
            problems.say("ids", f"expected a list of at most {BATCH_MAX} job IDs")
        else:
            where = replace(where, ids=tuple(ids))
    if rate is not None and (
        isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= _RATE_MAX
    ):
        problems.say("rate", f"expected jobs a second, up to {_RATE_MAX:,}, got {rate!r:.60}")
    problems.check()
    changed, after = 0, None
    while True:
        page = Page(limit=PAGE_MAX, after=after, oldest_first=True)
        found = await context.ledger.find(where, page)
        changes: list[Transition] = []
        for job in found:
            new = change_of(job, body)
            if new is not None:
                delay = int((changed + len(changes) // 2) * SECOND / rate) if rate else 0
                changes += [new, _spread(job, min(delay, 365 * DAY))] if rate else [new]
        verdicts = await context.ledger.commit(changes) if changes else []
        changed += sum(verdict.accepted for verdict in verdicts[:: 2 if rate else 1])
        if len(found) < PAGE_MAX:
            return changed
        after = found[-1].number


def _is_id(value: object) -> bool:
    return isinstance(value, str) and is_uuid(value)


def _spread(job: JobRecord, delay_us: int) -> Transition:
    """Let a job that was redriven in the same commit wait for its turn."""
    target = Status.SCHEDULED if delay_us else None
    event = "scheduled" if delay_us else "changed"
    return Transition(job.id, Status.PENDING, None, target, event, delay_us=delay_us)


async def redrive(context: Context, request: Request, who: Caller) -> Response:
    """Run dead letters again, all at once or `rate` a second."""
    changed = await _act(context, request, who, _redriven)
    return answer({"redriven": changed}, 202)


async def discard(context: Context, request: Request, who: Caller) -> Response:
    """Take dead letters off the list without running them; a `reason` stays in their history."""
    changed = await _act(context, request, who, _discarded, also=("reason",))
    return answer({"discarded": changed}, 202)


def _discarded(job: JobRecord, body: Mapping[str, Any]) -> Transition:
    return transition.discarded(job.id, str(body.get("reason") or "discarded by request"))


def _redriven(job: JobRecord, _body: Mapping[str, Any]) -> Transition | None:
    return transition.redriven(job.id, job.status)
