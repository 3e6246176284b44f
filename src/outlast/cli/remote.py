"""The backend that asks a server over HTTP."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, Self
from urllib.parse import quote

from outlast.cli.backend import Doc, Listing
from outlast.core.errors import InvalidInputError
from outlast.sdk.client import RemoteHandle
from outlast.sdk.http import Http

_HOLD_S: Final = 20  # how long the server may hold a question whose answer has not changed
_TIMEOUT_S: Final = 10


class HttpBackend:
    """Jobs on a server; use it as an async context manager."""

    def __init__(self, url: str, key: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"--url: expected http://… or https://…, got {url!r:.100}")
        # A person who waits is told at once; what got lost, they ask again.
        self._http = Http(url, key, timeout_s=_TIMEOUT_S, retry_for_s=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def jobs(self, where: Mapping[str, str], limit: int, cursor: str | None) -> Listing:
        query = {**where, "limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await self._call("GET", "/v1/jobs", query=query)
        return answer["jobs"], answer["next"]

    async def job(self, job_id: str) -> Doc:
        job = await self._call("GET", _path(job_id))
        for name in ("args", "result"):  # what is too large for the job's own document
            if name in job["links"]:
                job[name] = (await self._http.call("GET", job["links"][name])).document
        return job

    async def events(self, job_id: str, after: int) -> list[Doc]:
        answer = await self._call("GET", _path(job_id, "/events"), query={"after": after})
        found: list[Doc] = answer["events"]
        return found

    async def changed(self, job_id: str, seq: int) -> None:
        headers = {"If-None-Match": f'"{seq}"', "Prefer": f"wait={_HOLD_S}"}
        await self._http.call("GET", _path(job_id), headers=headers, hold_s=_HOLD_S)

    async def file(self, job_id: str, name: str) -> AsyncGenerator[bytes, None]:
        handle = RemoteHandle(self._http, job_id)
        async with aclosing(handle.open(name)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def cancel(self, job_id: str) -> Doc:
        return await self._call("POST", _path(job_id, "/cancel"))

    async def retry(self, job_id: str, args: Mapping[str, Any] | None) -> Doc:
        body = None if args is None else {"args": args}
        return await self._call("POST", _path(job_id, "/retry"), body=body)

    async def change(self, job_id: str, changes: Mapping[str, Any]) -> Doc:
        return await self._call("PATCH", _path(job_id), body=changes)

    async def dead(self, limit: int, cursor: str | None) -> Listing:
        query = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await self._call("GET", "/v1/dead-letters", query=query)
        return answer["dead_letters"], answer["next"]

    async def dead_groups(self) -> list[Doc]:
        answer = await self._call("GET", "/v1/dead-letters", query={"group": "error"})
        groups: list[Doc] = answer["dead_letters"]
        return groups

    async def redrive(self, ids: Sequence[str]) -> int:
        answer = await self._call("POST", "/v1/dead-letters/redrive", body={"ids": list(ids)})
        return int(answer["redriven"])

    async def discard(self, ids: Sequence[str], reason: str) -> int:
        body = {"ids": list(ids), "reason": reason}
        answer = await self._call("POST", "/v1/dead-letters/discard", body=body)
        return int(answer["discarded"])

    async def queues(self) -> list[Doc]:
        found: list[Doc] = (await self._call("GET", "/v1/queues"))["queues"]
        return found

    async def change_queue(self, name: str, changes: Mapping[str, Any]) -> None:
        await self._call("PATCH", f"/v1/queues/{quote(name, safe='')}", body=changes)

    async def limits(self) -> list[Doc]:
        found: list[Doc] = (await self._call("GET", "/v1/limits"))["limits"]
        return found

    async def set_limit(self, subject: str, said: Mapping[str, Any]) -> Doc:
        return await self._call("PUT", f"/v1/limits/{quote(subject, safe='')}", body=said)

    async def remove_limit(self, subject: str) -> None:
        await self._http.call("DELETE", f"/v1/limits/{quote(subject, safe='')}")

    async def submit(self, body: Mapping[str, Any], key: str | None) -> Doc:
        """Submit a job; raise what the server's problem document names."""
        given = {**body, **({"idempotency_key": key} if key else {})}
        return await self._call("POST", "/v1/jobs", body=await self._http.lightened(given))

    async def schedules(self) -> list[Doc]:
        found: list[Doc] = (await self._call("GET", "/v1/schedules"))["schedules"]
        return found

    async def schedule(self, name: str) -> Doc:
        return await self._call("GET", _schedule(name))

    async def put_schedule(self, name: str, spec: Mapping[str, Any], version: int) -> Doc:
        headers = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
        return await self._call("PUT", _schedule(name), body=spec, headers=headers)

    async def change_schedule(self, name: str, verb: Literal["pause", "resume"]) -> Doc:
        return await self._call("POST", _schedule(name, f"/{verb}"))

    async def trigger_schedule(self, name: str) -> Doc:
        return await self._call("POST", _schedule(name, "/trigger"))

    async def remove_schedule(self, name: str) -> None:
        await self._http.call("DELETE", _schedule(name))

    async def preview_schedule(self, name: str, number: int) -> list[Doc]:
        query = {"n": number}
        answer = await self._call("GET", _schedule(name, "/preview"), query=query)
        ticks: list[Doc] = answer["ticks"]
        return ticks

    async def _call(self, method: str, path: str, **request: Any) -> Doc:
        document: Doc = (await self._http.call(method, path, **request)).document
        return document


def _path(job_id: str, tail: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{tail}"


def _schedule(name: str, tail: str = "") -> str:
    return f"/v1/schedules/{quote(name, safe='')}{tail}"
