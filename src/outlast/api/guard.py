"""Who may do what: keys, scopes, tenants, and what a server without keys believes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from starlette.requests import Request

from outlast.core.errors import (
    ForbiddenError,
    InvalidInputError,
    OutlastError,
    UnauthorizedError,
)
from outlast.core.share import Rate

SCOPES: Final = frozenset({"submit", "read", "operate", "admin"})
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE: Final = frozenset({"GET", "HEAD"})
_PROXIED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class MisdirectedError(OutlastError):
    """The request names another host than this server answers for."""

    code = "misdirected-request"
    http_status = 400


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a tenant (None: all of them), what it may do, and by which key."""

    tenant: str | None
    scopes: frozenset[str]
    key: str | None = None  # the SHA-256 of its secret
    rate: Rate | None = None  # how often it may call

    @property
    def admin(self) -> bool:
        """Whether it may see tracebacks and act in bulk; an admin may do everything else too."""
        return "admin" in self.scopes


ANYBODY: Final = Caller(None, SCOPES)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def guard_exposure(host: str, *, has_keys: bool) -> None:
    """Refuse to serve other machines without keys."""
    if not has_keys and not is_loopback(host):
        raise InvalidInputError(
            f"host {host}: refusing to serve other machines without API keys",
            hint="make one first: outlast keys create --scopes submit,read",
        )


def identify(request: Request, keys: Mapping[str, Caller], *, open_here: bool) -> Caller:
    """Return who calls; raise UnauthorizedError, or refuse what a foreign page sent.

    `open_here` says that without any key everybody on this machine may do everything.
    """
    given = request.headers.get("authorization")
    if given is None and not keys and open_here:
        guard_near(request)
        guard_local(request)
        return ANYBODY
    kind, _, secret = (given or "").partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise UnauthorizedError("expected the header Authorization: Bearer <key>")
    # The hash is compared, never the secret, so the time this takes tells nothing about it.
    found = keys.get(sha256(secret.strip().encode("utf-8", "replace")).hexdigest())
    if found is None:
        raise UnauthorizedError("the API key is not known", hint="see: outlast keys list")
    return found


def guard_scope(who: Caller, scope: str) -> None:
    """Refuse a caller without the scope."""
    if scope not in who.scopes and not who.admin:
        raise ForbiddenError(
            f"this call needs the scope {scope}; the key has {', '.join(sorted(who.scopes))}",
            scope=scope,
        )


def guard_near(request: Request) -> None:
    """Refuse what another machine sent, as far as the request can tell.

    A server that knows its address has seen to that already; one that is mounted in another
    application learns only here who reaches it.
    """
    client, headers = request.client, request.headers
    by = next((name for name in _PROXIED if name in headers), None)
    if client is None or not is_loopback(client.host) or by is not None:
        came = f"one with {by}" if by else f"one from {client.host if client else 'nowhere'}"
        raise UnauthorizedError(
            f"without API keys only requests of this machine are answered, got {came:.80}",
            hint="make one: outlast keys create --scopes submit,read",
        )


@lru_cache(maxsize=256)
def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    return name.lower() in _LOCAL


def guard_local(request: Request) -> None:
    """Refuse what a page from elsewhere could make a browser on this machine send.

    A page whose name was made to resolve to 127.0.0.1 comes with that name as Host; one that
    posts to localhost comes with its own Origin.
    """
    headers = request.headers
    host = headers.get("host", "")
    if not _is_local_name(host):
        raise MisdirectedError(
            f"host: expected localhost, 127.0.0.1 or [::1], got {host!r:.80}",
            hint="make an API key to serve other names",
        )
    # Also of what only looks: a page of another site could hold many calls and streams open.
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForbiddenError("sec-fetch-site: expected same-origin: a page of another site asked")
    if request.method in _SAFE:
        return
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise ForbiddenError(f"origin: expected this server's own pages, got {origin!r:.80}")
