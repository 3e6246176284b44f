"""An HTTP client with the same handle as in process, for programs that only know the URL."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from outlast.core.errors import (
    ConflictError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    OutlastError,
    TooLargeError,
    UnavailableError,
    WaitTimeoutError,
)
from outlast.core.instant import from_rfc3339
from outlast.core.job import Event
from outlast.core.limits import BATCH_MAX, BODY_BYTES_MAX, SECOND
from outlast.core.status import Status
from outlast.sdk.artifact import Artifact, checked, write_file
from outlast.sdk.handle import JobStatus, Outcome
from outlast.sdk.http import Answer, Http, error_of, pause_us, to_body
from outlast.system import CLOCK, new_id

_HOLD_S: Final = 20  # how long the server may hold an answer; proxies cut at 30 s or later
_BATCH_FRAME_BYTES: Final = len('{"jobs":[],"atomic":false}')


class Client:
    """Submits to an Outlast server over HTTP; use it as an async context manager.

    `url` is the server's address and `key` its API key. `timeout` bounds the wait for each answer
    and `retry_for` says for how long a call is made again when its answer got lost, both in
    seconds; nothing is ever submitted twice by that. `http` is an `httpx.AsyncClient` to use
    instead of an own one::

        async with Client("http://127.0.0.1:8000", key=secret) as client:
            handle = await client.submit("monthly_report", {"user_id": 1, "month": "2026-11"})
            print(await handle.result(timeout=60))

    Every call raises the error that it would raise in process (`NotFoundError`, `QueueFullError`
    …), and UnavailableError when the server can't be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retry_for: float = 10.0,
        http: Any = None,
    ) -> None:
        self._http = Http(url, key, timeout_s=timeout, retry_for_s=retry_for, pool=http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def submit(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        patience: float = 0.0,
        **options: Any,
    ) -> "RemoteHandle":
        """Submit a job durably; `options` are the fields of `POST /v1/jobs`.

        `key` makes a second submit with it return the first job; without one the client makes its
        own, so that asking again after a lost answer is safe. `patience` is for how many seconds
        a full queue or a rate limit is waited out, as long as each answer says.
        """
        answer = await self._submit(task, args, key, patience, options)
        replayed = key is not None and "idempotency-replayed" in answer.headers
        return RemoteHandle(self._http, answer.document["id"], duplicate=replayed)

    async def run(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        key: str | None = None,
        patience: float = 0.0,
        **options: Any,
    ) -> Any:
        """Submit a job and return its result: one round trip for what ends soon.

        Raises what `RemoteHandle.result` raises; `timeout` counts from the call, in seconds.
        """
        begun = CLOCK.elapsed_us()
        hold = _HOLD_S if timeout is None else min(_HOLD_S, int(timeout))
        answer = await self._submit(task, args, key, patience, options, hold_s=hold)
        handle = RemoteHandle(self._http, answer.document["id"])
        if answer.document["done"]:
            return await handle.result_in(answer.document)
        if timeout is not None:
            timeout = max(0.0, timeout - (CLOCK.elapsed_us() - begun) / SECOND)
        return await handle.result(timeout)

    async def _submit(
        self,
        task: str,
        args: Mapping[str, Any] | None,
        key: str | None,
        patience: float,
        options: Mapping[str, Any],
        *,
        hold_s: int = 0,
    ) -> Answer:
        body = await self._http.lightened(
            _entry({"task": task, "args": args or {}, "key": key, **options})
        )
        headers = {"Prefer": f"wait={hold_s}"} if hold_s else {}
        return await self._http.call(
            "POST", "/v1/jobs", body=body, headers=headers,
            hold_s=hold_s, patience_s=patience, safe=True,
        )  # fmt: skip

    async def submit_batch(
        self, jobs: Iterable[Mapping[str, Any]], *, atomic: bool = False
    ) -> list["RemoteHandle | OutlastError"]:
        """Submit many jobs; return a handle or the error of each, in order.

        A job is what `submit` takes: `{"task": …, "args": …, "key": …}` and options. More than
        one request's worth is sent in several. With `atomic` all are stored or none: then it must
        fit into one, and what is wrong raises InvalidInputError.
        """
        entries = [await self._http.lightened(_entry(job)) for job in jobs]
        requests = list(_requests(entries))
        if atomic and len(requests) > 1:
            raise InvalidInputError(
                f"jobs: expected at most {BATCH_MAX} jobs and {BODY_BYTES_MAX} bytes to store all "
                f"or none, got {len(entries)} jobs",
                hint="submit fewer at once, or without atomic",
            )
        made: list[RemoteHandle | OutlastError] = []
        for request in requests:
            body = {"jobs": request, "atomic": atomic}
            answer = await self._http.call("POST", "/v1/jobs/batch", body=body, safe=True)
            made += [
                error_of(entry["problem"]["status"], entry["problem"])
                if "problem" in entry
                else RemoteHandle(self._http, entry["id"])
                for entry in answer.document["jobs"]
            ]
        return made

    def handle(self, job_id: str) -> "RemoteHandle":
        """Return a handle on a job submitted earlier."""
        return RemoteHandle(self._http, job_id)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make any other call of the API; return the document that it answers, or None."""
        answer = await self._http.call(method, path, body=body, query=query, headers=headers)
        return answer.document


def _entry(job: Mapping[str, Any]) -> dict[str, Any]:
    """Give a job that has no key one of its own, so that asking again can't store it twice."""
    given = {
        # Options count time in seconds; arguments write it as pydantic reads it, ISO 8601.
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in job.items()
    }
    key = given.pop("key", None) or given.pop("idempotency_key", None) or new_id()
    return {**given, "idempotency_key": key}


def _requests(entries: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Cut jobs into requests that a server takes."""
    request: list[dict[str, Any]] = []
    size = _BATCH_FRAME_BYTES
    for entry in entries:
        length = len(to_body(entry)) + 1
        if length + _BATCH_FRAME_BYTES > BODY_BYTES_MAX:
            raise TooLargeError(
                f"a job of task {entry.get('task')!r:.80} has {length} bytes: expected at most "
                f"{BODY_BYTES_MAX}",
                hint="store the data and submit where it is",
            )
        if request and (len(request) == BATCH_MAX or size + length > BODY_BYTES_MAX):
            yield request
            request, size = [], _BATCH_FRAME_BYTES
        request.append(entry)
        size += length
    if request:
        yield request


def result_of(job: Mapping[str, Any]) -> Any:
    """Return the result of a job that has ended; raise the error that tells of a bad end."""
    if job["status"] == Status.FAILED:
        error = job["error"] or {}
        raise JobFailedError(
            f"job {job['id']} failed after {job['attempt']} attempts: "
            f"{error.get('type')}: {error.get('message')}",
            error=error,
        )
    if job["status"] == Status.CANCELLED:
        raise JobCancelledError(f"job {job['id']} was cancelled")
    return job["result"]


class RemoteHandle:
    """A job on a server; it has the verbs of `Handle`."""

    def __init__(self, http: Http, job_id: str, *, duplicate: bool = False) -> None:
        self._http = http
        self._path = f"/v1/jobs/{quote(job_id, safe='')}"
        self.id = job_id
        self.duplicate = duplicate

    def __repr__(self) -> str:
        return f"<RemoteHandle {self.id}>"

    async def job(self) -> dict[str, Any]:
        """Return the job as the HTTP contract shows it; raise NotFoundError when there is none."""
        found: dict[str, Any] = (await self._http.call("GET", self._path)).document
        return found

    async def status(self) -> JobStatus:
        """Return how the job stands now."""
        job = await self.job()
        status = Status(job["status"])
        return JobStatus(job["id"], status, job["attempt"], job["progress"], job["error"])

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result.

        Raises JobFailedError, JobCancelledError, or WaitTimeoutError after `timeout` seconds
        (the job itself goes on).
        """
        headers = {"Prefer": f"wait={_HOLD_S}"}
        job: dict[str, Any] = {"done": False, "status": "unknown"}
        try:
            async with asyncio.timeout(timeout):
                while not job["done"]:
                    # Without If-None-Match the answer is held until the job has ended.
                    asked = CLOCK.elapsed_us()
                    job = (
                        await self._http.call("GET", self._path, headers=headers, hold_s=_HOLD_S)
                    ).document
                    if not job["done"] and CLOCK.elapsed_us() - asked < SECOND:
                        await asyncio.sleep(1)  # the server stops, or a proxy drops the wish
        except TimeoutError as error:
            raise WaitTimeoutError(
                f"job {self.id} has not ended within {timeout:g} s",
                hint="it goes on; ask again later",
            ) from error
        return await self.result_in(job)

    async def result_in(self, job: Mapping[str, Any]) -> Any:
        """Return the result of this job, which has ended, as its document has it or links to it."""
        result = result_of(job)
        link = job["links"].get("result")
        return result if link is None else (await self._http.call("GET", link)).document

    async def events(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """Follow the job's history from a sequence number to its end, live.

        When the connection is cut it goes on where it was, without a gap or a repeat; raises
        UnavailableError when that has not worked for the client's `retry_for` seconds.
        """
        heard, tries = CLOCK.elapsed_us(), 0
        while True:
            try:
                async with aclosing(self._http.frames(f"{self._path}/events", after)) as frames:
                    async for frame in frames:
                        after, heard, tries = frame.number, CLOCK.elapsed_us(), 0
                        yield _event_of(self.id, frame.number, frame.type, frame.data)
                answer = await self._http.call("GET", self._path)
                if answer.document["done"] and _seq_of(answer) <= after:
                    return
            except UnavailableError:
                if CLOCK.elapsed_us() - heard >= self._http.retry_for_us:
                    raise
            tries += 1  # cut, or ended by a server that stops
            await asyncio.sleep(pause_us(tries) / SECOND)

    async def history(self, after: int = 0) -> list[Event]:
        """Return what has happened to the job so far, after a sequence number."""
        found: list[Event] = []
        following: str | None = str(after)
        while following is not None:
            answer = await self._http.call(
                "GET", f"{self._path}/events", query={"after": following}
            )
            for entry in answer.document["events"]:
                data = {**entry["data"], "at": entry["at"]}
                found.append(_event_of(self.id, entry["seq"], entry["type"], data))
            following = answer.document["next"]
        return found

    async def cancel(self, *, timeout: float | None = None) -> Outcome:
        """Ask the job to stop, and say what came of it; see `Handle.cancel`."""
        try:
            # Asked twice it is the same wish, so a lost answer does no harm.
            answer = await self._http.call("POST", f"{self._path}/cancel", safe=True)
        except ConflictError:
            job = await self.job()
            if job["status"] == Status.CANCELLED:
                return await self._stopped(None)
            return "too-late"
        if answer.document["status"] == Status.CANCELLED:
            return "cancelled"
        return "cancelling" if timeout is None else await self._stopped(timeout)

    async def _stopped(self, timeout: float | None) -> Outcome:
        try:
            await self.result(timeout)
        except JobCancelledError:
            ends = [event for event in await self.history() if event.type == "cancelled"]
            return "killed" if '"outcome":"killed"' in ends[-1].data else "cancelled"
        except JobFailedError:
            pass
        return "too-late"

    async def retry(self, args: Mapping[str, Any] | None = None) -> None:
        """Run a failed or cancelled job again, with other arguments if some are given.

        See `Handle.retry`. Its answer can get lost like any other; as it may not be asked twice,
        that raises UnavailableError.
        """
        body = None if args is None else {"args": args}
        await self._http.call("POST", f"{self._path}/retry", body=body)

    async def change(self, /, **changes: Any) -> None:
        """Change a job that has not started; see `Handle.change`."""
        body = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in changes.items()
        }
        # Asked twice it is the same wish, so a lost answer does no harm.
        await self._http.call("PATCH", self._path, body=body, safe=True)

    async def artifacts(self) -> list[Artifact]:
        """Return the files that the job has saved so far."""
        return [Artifact(**entry) for entry in (await self.job())["artifacts"]]

    async def open(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a file of the job; see `Job.open`."""
        found = [one for one in await self.artifacts() if one.name == name]
        if not found:
            raise NotFoundError(f"job {self.id} has no artifact {name!r:.80}")
        source = self._http.download(f"{self._path}/artifacts/{quote(name, safe='')}")
        async with aclosing(source) as chunks:
            async for chunk in checked(chunks, found[0]):
                yield chunk

    async def download(self, name: str, path: str | Path) -> Path:
        """Save a file of the job at a path, which is complete when it is there; return it.

        Raises NotFoundError when the job has no file of this name, CorruptError when its bytes are
        not those that were saved.
        """
        async with aclosing(self.open(name)) as chunks:
            return await write_file(chunks, path)


def _event_of(job_id: str, seq: int, kind: str, data: Mapping[str, Any]) -> Event:
    rest = {name: value for name, value in data.items() if name != "at"}
    at = from_rfc3339(data["at"], field="at")
    return Event(0, job_id, seq, kind, at, to_body(rest).decode())


def _seq_of(answer: Answer) -> int:
    """Read the number of the job's last event, which is its ETag."""
    return int(answer.headers["etag"].removeprefix("W/").strip('"'))
