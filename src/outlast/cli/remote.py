"""The backend that asks a server over HTTP."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib import import_module
from typing import Any, Final, Self
from urllib.parse import quote

from outlast.cli.backend import Doc, Listing
from outlast.core.errors import (
    CapabilityError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidInputError,
    NotFoundError,
    OutlastError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
)

_HOLD_S: Final = 20  # how long the server may hold a question whose answer has not changed
_TIMEOUT_S: Final = 10
_BY_STATUS: Final[dict[int, type[OutlastError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: RateLimitedError,
}
# Parts of a problem document that our error says in its own way, or that name its parameters.
_NO_FACTS: Final = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "message", "hint"}
)


class HttpBackend:
    """Jobs on a server; use it as an async context manager."""

    def __init__(self, url: str, key: str | None = None, *, transport: Any = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"--url: expected http://… or https://…, got {url!r:.100}")
        try:
            self._httpx: Any = import_module("httpx")
        except ImportError as error:
            raise CapabilityError(
                "--url needs an extra", hint="pip install 'outlast[client]'"
            ) from error
        self._url = url.rstrip("/")
        self._http = self._httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._httpx.Timeout(_TIMEOUT_S, read=_HOLD_S + _TIMEOUT_S),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def jobs(self, where: Mapping[str, str], limit: int, cursor: str | None) -> Listing:
        query = {**where, "limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await self._call("GET", "/v1/jobs", params=query)
        return answer["jobs"], answer["next"]

    async def job(self, job_id: str) -> Doc:
        return await self._call("GET", _path(job_id))

    async def events(self, job_id: str, after: int) -> list[Doc]:
        answer = await self._call("GET", _path(job_id, "/events"), params={"after": after})
        found: list[Doc] = answer["events"]
        return found

    async def changed(self, job_id: str, seq: int) -> None:
        headers = {"If-None-Match": f'"{seq}"', "Prefer": f"wait={_HOLD_S}"}
        await self._call("GET", _path(job_id), headers=headers)

    async def cancel(self, job_id: str) -> Doc:
        return await self._call("POST", _path(job_id, "/cancel"))

    async def retry(self, job_id: str) -> Doc:
        return await self._call("POST", _path(job_id, "/retry"))

    async def dead(self, limit: int, cursor: str | None) -> Listing:
        query = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await self._call("GET", "/v1/dead-letters", params=query)
        return answer["dead_letters"], answer["next"]

    async def dead_groups(self) -> list[Doc]:
        answer = await self._call("GET", "/v1/dead-letters", params={"group": "error"})
        groups: list[Doc] = answer["dead_letters"]
        return groups

    async def redrive(self, ids: Sequence[str]) -> int:
        answer = await self._call("POST", "/v1/dead-letters/redrive", json={"ids": list(ids)})
        return int(answer["redriven"])

    async def discard(self, ids: Sequence[str]) -> int:
        answer = await self._call("POST", "/v1/dead-letters/discard", json={"ids": list(ids)})
        return int(answer["discarded"])

    async def submit(self, body: Mapping[str, Any], key: str | None) -> Doc:
        """Submit a job; raise what the server's problem document names."""
        headers = {"Idempotency-Key": key} if key else {}
        return await self._call("POST", "/v1/jobs", json=dict(body), headers=headers)

    async def _call(self, method: str, path: str, **request: Any) -> Doc:
        try:
            response = await self._http.request(method, self._url + path, **request)
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise UnavailableError(
                f"can't reach {self._url}: {error or type(error).__name__}",
                hint="is the server running?",
            ) from error
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return {}
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise UnavailableError(
                f"{self._url} answered {response.status_code}, and not as an Outlast server does",
                hint="check --url",
            )
        if not response.is_success:
            raise error_of(response.status_code, body)
        return body


def error_of(status: int, problem: Mapping[str, Any]) -> OutlastError:
    """Return the error that a problem document tells of, so that its exit code is the same."""
    code = str(problem.get("code", ""))
    # Only the tree that users know: which of the server's own classes are loaded is chance.
    home = OutlastError.__module__
    by_code = {kind.code: kind for kind in _kinds(OutlastError) if kind.__module__ == home}
    fallback = InvalidInputError if status < HTTPStatus.INTERNAL_SERVER_ERROR else UnavailableError
    kind = by_code.get(code) or _BY_STATUS.get(status, fallback)
    facts = {name: value for name, value in problem.items() if name not in _NO_FACTS}
    error = kind(str(problem.get("detail") or f"the server answered {status}"), **facts)
    error.code = code or kind.code
    return error


def _kinds(base: type[OutlastError]) -> list[type[OutlastError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _kinds(child))]


def _path(job_id: str, tail: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{tail}"
