"""The web server: one table of routes with the scope that each needs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.api import jobs, operate
from outlast.api.codec import answer, problem
from outlast.api.context import Context
from outlast.api.guard import Caller, caller, guard_exposure
from outlast.api.openapi import document
from outlast.core.errors import NotFoundError, OutlastError
from outlast.sdk.app import Outlast

Handler = Callable[[Context, Request, Caller], Awaitable[Response]]

# Every route stands here with its scope; there is no other way in.
ROUTES: list[tuple[str, str, str, Handler]] = [
    ("POST", "/v1/jobs", "submit", jobs.submit),
    ("POST", "/v1/jobs/batch", "submit", jobs.submit_batch),
    ("POST", "/v1/tasks/{task}/jobs", "submit", jobs.submit),
    ("GET", "/v1/jobs", "read", jobs.index),
    ("GET", "/v1/jobs/{id}", "read", jobs.show),
    ("GET", "/v1/jobs/{id}/events", "read", jobs.events),
    ("GET", "/v1/jobs/{id}/logs", "read", jobs.logs),
    ("GET", "/v1/jobs/{id}/result", "read", jobs.result),
    ("GET", "/v1/jobs/{id}/artifacts/{name:path}", "read", jobs.artifact),
    ("POST", "/v1/jobs/{id}/cancel", "submit", jobs.cancel),
    ("POST", "/v1/jobs/{id}/retry", "operate", jobs.retry),
    ("DELETE", "/v1/jobs/{id}", "operate", jobs.forget),
    ("GET", "/v1/dead-letters", "read", jobs.dead),
    ("POST", "/v1/dead-letters/redrive", "operate", jobs.redrive),
    ("POST", "/v1/dead-letters/discard", "operate", jobs.discard),
    ("GET", "/v1/queues", "read", operate.queues),
    ("GET", "/v1/queues/{q}", "read", operate.queue),
    ("PATCH", "/v1/queues/{q}", "operate", operate.change_queue),
    ("GET", "/v1/workers", "read", operate.workers),
    ("GET", "/v1/tasks", "read", operate.tasks),
    ("GET", "/metrics", "read", operate.metrics),
]


class _Server:
    def __init__(self, app: Outlast, host: str) -> None:
        self.app = app
        self.host = host
        self.context: Context | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the app for as long as the server runs."""
        await self.app.open()
        guard_exposure(self.host, has_keys=bool(await self.app.ledger.docs("key")))
        self.context = Context(self.app)
        await self.context.refresh()
        try:
            yield
        finally:
            await self.context.watch.close()
            await self.app.close()

    def endpoint(self, scope: str | None, handler: Any) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a handler: who calls, may it, and how its errors are told."""

        async def run(request: Request) -> Response:
            context = self.context
            if context is None:
                return answer({"status": "starting"}, 503)
            try:
                if scope is None:
                    response: Response = await handler(context, request)
                else:
                    who = await caller(request, context.ledger, scope)
                    response = await handler(context, request, who)
            except OutlastError as error:
                return problem(error, request.url.path)
            return response

        return run


async def _openapi(context: Context, request: Request) -> Response:
    return answer(document(context.app, [(m, p, s, h.__doc__ or "") for m, p, s, h in ROUTES]))


async def _dashboard(context: Context, request: Request) -> Response:
    name = request.path_params.get("file", "index.html")
    kinds = {"index.html": "text/html", "app.js": "text/javascript", "app.css": "text/css"}
    if name not in kinds:
        raise NotFoundError(f"there is no file {name!r:.80}")
    text = (files("outlast.api") / "static" / name).read_text("utf-8")
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
    return Response(
        text,
        media_type=kinds[name],
        headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"},
    )


def create(app: Outlast, *, host: str = "127.0.0.1") -> Starlette:
    """Make the ASGI application of an app; it opens and closes it with its own lifespan."""
    server = _Server(app, host)
    routes = [
        Route(path, server.endpoint(scope, handler), methods=[method])
        for method, path, scope, handler in ROUTES
    ]
    for path, handler in (
        ("/healthz", operate.healthz),
        ("/readyz", operate.readyz),
        ("/openapi.json", _openapi),
        ("/", _dashboard),
        ("/static/{file}", _dashboard),
    ):
        routes.append(Route(path, server.endpoint(None, handler), methods=["GET"]))

    async def missing(request: Request, _: Exception) -> Response:
        return problem(NotFoundError(f"there is nothing at {request.url.path!r:.200}"), "")

    return Starlette(routes=routes, lifespan=server.lifespan, exception_handlers={404: missing})
