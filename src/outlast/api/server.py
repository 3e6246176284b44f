"""The web server: finds the way, asks who calls, runs it, and tells every error alike."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from outlast.api import operate
from outlast.api.codec import answer, mounted_at, problem
from outlast.api.context import Context
from outlast.api.guard import Caller, guard_exposure, guard_scope, identify, is_loopback
from outlast.api.openapi import document
from outlast.api.routes import WAYS, Way
from outlast.core.errors import NotFoundError, OutlastError, UnauthorizedError
from outlast.core.limits import MILLISECOND
from outlast.sdk.app import Outlast

Public = Callable[[Context, Request], Awaitable[Response]]

_LOG: Final = logging.getLogger("outlast.api")
_IMPATIENT_US: Final = 100 * MILLISECOND
_PAGES: Final = {
    "index.html": "text/html",
    "docs.html": "text/html",
    "api.js": "text/javascript",
    "app.js": "text/javascript",
    "docs.js": "text/javascript",
    "dom.js": "text/javascript",
    "job.js": "text/javascript",
    "key.js": "text/javascript",
    "overview.js": "text/javascript",
    "schedules.js": "text/javascript",
    "app.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class MethodError(OutlastError):
    """This path takes other methods."""

    code = "method-not-allowed"
    http_status = 405


class _Server:
    """One app's API, from its first request or its lifespan on."""

    def __init__(self, app: Outlast, host: str | None) -> None:
        self.app = app
        self.host = host
        # Where the address is not known, each request shows whether it came from this machine.
        self.open_here = host is None or is_loopback(host)
        self.context: Context | None = None
        self._starting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Context:
        """Open the app once; a mounted server, which has no lifespan, does so when first asked."""
        async with self._starting:
            if self.context is None:
                await self.app.open()
                if self.host is not None:
                    guard_exposure(self.host, has_keys=bool(await self.app.ledger.docs("key")))
                self.context = Context(self.app)
                self._loop = asyncio.get_running_loop()
                self.app.before_close(self.stop)
            return self.context

    async def stop(self) -> None:
        """Let go of a ledger that is about to be closed."""
        context, self.context = self.context, None
        if context is None or self._loop is None:
            return
        if self._loop is asyncio.get_running_loop():
            await context.watch.close()
        else:
            # Whoever closes the app runs in another thread: this one's tasks are not theirs.
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(context.watch.abandon)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the app for as long as the server runs."""
        await self.start()
        try:
            yield
        finally:
            await self.app.close()


class _Call(Request):
    """A request whose headers are looked up in a dictionary: every call asks for several."""

    @property
    def headers(self) -> Headers:
        found: Any = self.scope.get("outlast.headers")
        if found is None:
            pairs = self.scope["headers"]
            # Of headers that come twice the first one counts, as in Starlette.
            found = {name.decode("latin-1"): v.decode("latin-1") for name, v in reversed(pairs)}
            self.scope["outlast.headers"] = found
        return found  # type: ignore[no-any-return]


class _Place:
    """One path with its methods; the ASGI application of its route."""

    def __init__(
        self, server: _Server, path: str, ways: dict[str, Way], public: Public | None
    ) -> None:
        self._server = server
        self._path = path
        self._ways = ways
        self._public = public
        self._allow = "GET, HEAD" if public else ", ".join(sorted(ways))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Call(scope, receive, send)
        mounted_at.set(quote(scope.get("root_path", "")))
        try:
            response = await self._respond(request)
        except OutlastError as error:
            headers = {"Allow": self._allow} if isinstance(error, MethodError) else None
            response = problem(error, scope["path"], headers=headers)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer without a trace
            _LOG.exception("%s %s failed", request.method, self._path)
            fault = OutlastError("something went wrong here, and the server's log says what")
            response = problem(fault, scope["path"])
        context = self._server.context
        if context is not None:
            seen = (request.method if response.status_code != 405 else "", self._path)  # noqa: PLR2004
            key = (*seen, response.status_code)
            context.requests[key] = context.requests.get(key, 0) + 1
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        context = self._server.context or await self._server.start()
        method = "GET" if request.method == "HEAD" else request.method
        if self._public is not None:
            if method != "GET":
                raise MethodError(f"{request.method}: expected GET")
            return await self._public(context, request)
        if not context.is_fresh():
            await context.fresh()
        try:
            who = identify(request, context.keys, open_here=self._server.open_here)
        except UnauthorizedError:
            # A key that was made a moment ago is not known yet.
            if not await context.fresh(_IMPATIENT_US):
                raise
            who = identify(request, context.keys, open_here=self._server.open_here)
        context.shares.take(who)
        way = self._ways.get(method)
        if way is None:
            raise MethodError(f"{request.method:.20}: expected {self._allow}")
        guard_scope(who, way.scope)
        return await way.handler(context, request, who)


async def _openapi(context: Context, request: Request, who: Caller) -> Response:
    """Describe this API."""
    return answer(document(context.app))


async def _page(context: Context, request: Request) -> Response:
    page = "docs.html" if request.scope["path"].endswith("/docs") else "index.html"
    name = request.path_params.get("file") or page
    if name not in _PAGES:
        raise NotFoundError(f"there is no file {name!r:.80}")
    text = (files("outlast.api") / "static" / name).read_text("utf-8")
    return Response(text, headers=_PAGE_HEADERS, media_type=_PAGES[name])


async def _missing(request: Request, _: Exception) -> Response:
    path = request.scope["path"]
    return problem(NotFoundError(f"there is nothing at {path!r:.200}"), path)


_PUBLIC: Final[dict[str, Public]] = {
    "/healthz": operate.healthz,
    "/readyz": operate.readyz,
    "/": _page,
    "/docs": _page,
    "/static/{file}": _page,
}
_DOCUMENT: Final = Way("GET", "/openapi.json", "read", _openapi, "Any")


def create(app: Outlast, *, host: str | None = None) -> Starlette:
    """Make the ASGI application of an app; it opens and closes it with its own lifespan.

    `host` is the address that it will be served on: only on loopback may it do without keys. Where
    that is not known, as in a mount, a request without a key must come from this machine itself.
    """
    server = _Server(app, host)
    places: dict[str, dict[str, Way]] = defaultdict(dict)
    for way in (*WAYS, _DOCUMENT):
        places[way.path][way.method] = way
    routes = [Route(path, _Place(server, path, ways, None)) for path, ways in places.items()]
    routes += [Route(path, _Place(server, path, {}, page)) for path, page in _PUBLIC.items()]
    made = Starlette(routes=routes, lifespan=server.lifespan, exception_handlers={404: _missing})
    made.router.redirect_slashes = False
    return made
