"""The routes of schedules: list, make, change, pause, preview, trigger, remove."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import answer, job_out, mounted_at
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.api.query import Problems, number_of
from outlast.core.errors import NotFoundError
from outlast.core.limits import PREVIEW_MAX
from outlast.sdk.schedules import NEW, Schedules, Shown

_PREVIEW: Final = 10
_DIGITS_MAX: Final = 16
_NONE: Final = -1


def _of(context: Context, request: Request, who: Caller) -> Schedules:
    """Return the caller's schedules; who may see every tenant's says which it means."""
    said = request.query_params.get("tenant")
    if who.tenant is not None and said not in {None, who.tenant}:
        raise NotFoundError(f"there is no tenant {said!r:.80} for this key")
    return Schedules(context.app, said or "" if who.tenant is None else who.tenant)


def _out(schedule: Shown) -> dict[str, Any]:
    here = f"{mounted_at.get()}/v1/schedules/{schedule['name']}"
    jobs = f"{mounted_at.get()}/v1/jobs?tag=schedule:{schedule['name']}"
    return {**schedule, "links": {"self": here, "jobs": jobs}}


def _shown(schedule: Shown, status: int = 200) -> Response:
    """Answer with a schedule; its ETag names what people and code have said, not its last tick."""
    return answer(_out(schedule), status, headers={"ETag": f'"{schedule["version"]}"'})


def _expected(request: Request) -> int | None:
    """Return which version the caller means to change; one that no schedule has if it is odd."""
    given = request.headers.get("if-match")
    if request.headers.get("if-none-match") == "*":
        return NEW
    if given is None or given == "*":
        return None
    tag = given.strip('"')
    return int(tag) if tag.isascii() and tag.isdigit() and len(tag) <= _DIGITS_MAX else _NONE


async def index(context: Context, request: Request, who: Caller) -> Response:
    """List the schedules, by name."""
    found = await Schedules(context.app, who.tenant).all()
    return answer({"schedules": [_out(one) for one in found], "next": None})


async def show(context: Context, request: Request, who: Caller) -> Response:
    """Show one schedule."""
    return _shown(await _of(context, request, who).get(request.path_params["name"]))


async def put(context: Context, request: Request, who: Caller) -> Response:
    """Make a schedule or take another's place; it stays paused if it was."""
    body, name = await read_body(request), request.path_params["name"]
    version = _expected(request)
    schedule, is_new = await _of(context, request, who).put(name, body, version=version)
    response = _shown(schedule, 201 if is_new else 200)
    if is_new:
        response.headers["Location"] = f"{mounted_at.get()}/v1/schedules/{name}"
    return response


async def remove(context: Context, request: Request, who: Caller) -> Response:
    """Remove a schedule; one that the code declares comes back with the next worker."""
    name, version = request.path_params["name"], _expected(request)
    await _of(context, request, who).remove(name, version=version)
    return Response(status_code=204)


async def pause(context: Context, request: Request, who: Caller) -> Response:
    """Let a schedule tick no more until it is resumed."""
    return _shown(await _of(context, request, who).pause(request.path_params["name"]))


async def resume(context: Context, request: Request, who: Caller) -> Response:
    """Let a schedule tick again, from now on."""
    return _shown(await _of(context, request, who).resume(request.path_params["name"]))


async def trigger(context: Context, request: Request, who: Caller) -> Response:
    """Submit a schedule's job now, beside its ticks."""
    key = request.headers.get("idempotency-key")
    schedules = _of(context, request, who)
    handle = await schedules.trigger(request.path_params["name"], key=key)
    job = job_out(await context.job(handle.id, who), admin=who.admin)
    headers = {"Location": job["links"]["self"]}
    if handle.duplicate:
        headers["Idempotency-Replayed"] = "true"
    return answer(job, 202, headers=headers)


async def preview(context: Context, request: Request, who: Caller) -> Response:
    """Say when a schedule will tick, in UTC and by the clock of its zone."""
    problems = Problems()
    n = number_of(request.query_params.get("n"), "n", problems)
    problems.check()
    schedules = _of(context, request, who)
    wanted = _PREVIEW if n is None else min(n, PREVIEW_MAX)
    ticks = await schedules.preview(request.path_params["name"], wanted)
    return answer({"ticks": ticks, "next": None})
