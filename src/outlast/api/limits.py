"""The routes about limits of tasks, tenants and keys; a queue's are among its settings."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from outlast.api.body import read_body
from outlast.api.codec import answer
from outlast.api.context import Context
from outlast.api.guard import Caller
from outlast.core.errors import ForbiddenError
from outlast.sdk.limits import all_limits, set_limit


def _of_operator(who: Caller) -> None:
    if who.tenant is not None:
        raise ForbiddenError("limits are shared: a tenant's key can neither see nor change them")


async def index(context: Context, request: Request, who: Caller) -> Response:
    """List the limits: those set live, and those that the code or the settings declare."""
    _of_operator(who)
    found = await all_limits(context.ledger)
    shown: list[dict[str, Any]] = [{"subject": name, **found[name]} for name in found]
    return answer({"limits": shown, "next": None})


async def put(context: Context, request: Request, who: Caller) -> Response:
    """Set what holds for a task, a tenant or a key from now on; running jobs go on."""
    _of_operator(who)
    subject = request.path_params["subject"]
    limit = await set_limit(context.ledger, subject, await read_body(request))
    return answer({"subject": subject, **limit.shown(), "source": "live"})


async def remove(context: Context, request: Request, who: Caller) -> Response:
    """Take away what was set live; what the code declares holds again."""
    _of_operator(who)
    await set_limit(context.ledger, request.path_params["subject"], {})
    return Response(status_code=204)
