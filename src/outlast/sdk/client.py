"""An HTTP client with the same handle as in process, for programs that only know the URL."""

import json
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from typing import Any, Self

from outlast.core.errors import (
    CapabilityError,
    ConflictError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    OutlastError,
    UnavailableError,
    WaitTimeoutError,
)
from outlast.core.limits import SECOND
from outlast.system import CLOCK

_WAIT_S = 20
_BY_STATUS: dict[int, type[OutlastError]] = {
    404: NotFoundError,
    409: ConflictError,
    503: UnavailableError,
}


def _httpx() -> Any:
    """Load the extra on first use, so that importing outlast stays light."""
    try:
        return import_module("httpx")
    except ImportError as error:
        raise CapabilityError(
            "the HTTP client needs httpx", hint="pip install 'outlast[client]'"
        ) from error


class Client:
    """Submits to an Outlast server over HTTP.

    `url` is the server's address, `key` its API key. Use it as an async context manager.
    """

    def __init__(self, url: str, *, key: str | None = None, http: Any = None) -> None:
        httpx = _httpx()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = http or httpx.AsyncClient(base_url=url, headers=headers, timeout=_WAIT_S + 10)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **options: Any,
    ) -> "RemoteHandle":
        """Submit a job; `options` are the fields of `POST /v1/jobs`."""
        headers = {"Idempotency-Key": key} if key else {}
        body = {"task": task, "args": dict(args or {}), **options}
        answer = await self.call("POST", "/v1/jobs", json=body, headers=headers)
        return RemoteHandle(self, answer["id"])

    def handle(self, job_id: str) -> "RemoteHandle":
        """Return a handle on a job submitted earlier."""
        return RemoteHandle(self, job_id)

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """Make one request; raise the error that the problem document names."""
        httpx = _httpx()
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"{method} {path}: {type(error).__name__}: {error}", hint="is the server running?"
            ) from error
        if response.is_success:
            return response.json() if response.content else None
        try:
            problem = response.json()
        except json.JSONDecodeError:
            problem = {"detail": response.text[:200]}
        kind = _BY_STATUS.get(response.status_code, InvalidInputError)
        raise kind(str(problem.get("detail")), problem=problem)


class RemoteHandle:
    """A job on a server."""

    def __init__(self, client: Client, job_id: str) -> None:
        self._client = client
        self.id = job_id

    async def status(self) -> dict[str, Any]:
        """Return the job's document."""
        job: dict[str, Any] = await self._client.call("GET", f"/v1/jobs/{self.id}")
        return job

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result; see `Handle.result` for what it raises."""
        start = CLOCK.elapsed_us()
        job = await self.status()
        while not job["done"]:
            left = float(_WAIT_S)
            if timeout is not None:
                left = min(left, timeout - (CLOCK.elapsed_us() - start) / SECOND)
                if left <= 0:
                    raise WaitTimeoutError(f"job {self.id} has not ended within {timeout:g} s")
            async for event in self.events(seconds=left):
                if event["type"] in {"completed", "failed", "cancelled"}:
                    break
            job = await self.status()
        if job["status"] == "failed":
            error = job["error"] or {}
            raise JobFailedError(
                f"job {self.id} failed: {error.get('type')}: {error.get('message')}", error=error
            )
        if job["status"] == "cancelled":
            raise JobCancelledError(f"job {self.id} was cancelled")
        return job["result"]

    async def events(self, after: int = 0, seconds: float | None = None) -> AsyncIterator[Any]:
        """Follow the job's history over server-sent events, from a sequence number."""
        httpx = _httpx()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        request = self._client._http.stream(  # noqa: SLF001 - the client's other half
            "GET", f"/v1/jobs/{self.id}/events", headers=headers, timeout=seconds
        )
        try:
            async with request as response:
                event: dict[str, Any] = {}
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        event["seq"] = int(value)
                    elif name == "event":
                        event["type"] = value
                    elif name == "data":
                        event["data"] = json.loads(value)
                    elif not line and event:
                        yield event
                        event = {}
        except httpx.TimeoutException:
            return

    async def cancel(self) -> None:
        """Ask the job to stop."""
        await self._client.call("POST", f"/v1/jobs/{self.id}/cancel")

    async def retry(self) -> None:
        """Run a failed or cancelled job again."""
        await self._client.call("POST", f"/v1/jobs/{self.id}/retry")
