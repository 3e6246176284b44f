"""Who may do what: keys, scopes, tenants, and which Host names a local server believes."""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from pydantic_core import from_json
from starlette.requests import Request

from outlast.core.errors import (
    ForbiddenError,
    InvalidInputError,
    MalformedInputError,
    UnauthorizedError,
)
from outlast.ledger import Ledger

ALL = frozenset({"submit", "read", "operate", "admin"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a tenant (empty: all of them) and what it may do."""

    tenant: str | None
    scopes: frozenset[str]

    @property
    def admin(self) -> bool:
        """Whether it may see tracebacks and act in bulk."""
        return "admin" in self.scopes


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
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


async def caller(request: Request, ledger: Ledger, scope: str) -> Caller:
    """Return who calls; raise UnauthorizedError or ForbiddenError."""
    given = request.headers.get("authorization", "")
    if not given and not await ledger.docs("key"):
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if host not in _LOCAL:
            # A page elsewhere that had its name resolve to 127.0.0.1 would come with that name.
            raise MalformedInputError(f"host: expected localhost, got {host!r:.80}")
        return Caller(None, ALL)
    kind, _, secret = given.partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise UnauthorizedError("expected the header Authorization: Bearer <key>")
    found = await ledger.docs("key", sha256(secret.strip().encode()).hexdigest())
    if not found:
        raise UnauthorizedError("the API key is not known", hint="outlast keys create")
    doc = from_json(found[0].doc)
    who = Caller(doc.get("tenant") or None, frozenset(doc["scopes"]))
    if scope not in who.scopes and not who.admin:
        raise ForbiddenError(f"this needs the scope {scope}; the key has {sorted(who.scopes)}")
    return who
