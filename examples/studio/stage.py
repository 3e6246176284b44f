"""Start and stop the processes of the demo, and talk to its API."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from fleet import Places

HERE = Path(__file__).parent
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
LOG_TAIL_LINES = 15


class DemoError(Exception):
    """What went wrong, in words for the person who runs the demo."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that the demo started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls, name: str, command: list[str], *, folder: Path, environment: Mapping[str, str]
    ) -> "Server":
        """Start a process whose output goes to a log file."""
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the demo alone, which then stops everything in order.
                start_new_session=True,
            )
        return cls(name, process, log)

    async def ready(self, pattern: str) -> re.Match[str]:
        """Wait for the line that says the process is ready."""
        give_up_at = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up_at:
            found = re.search(pattern, self.log.read_text(encoding="utf-8", errors="replace"))
            if found:
                return found
            if self.process.poll() is not None:
                code = self.process.returncode
                raise DemoError(f"{self.name} ended with exit code {code}:\n{self.tail()}")
            await asyncio.sleep(0.05)
        raise DemoError(f"{self.name} was not ready after {READY_SECONDS:g} s:\n{self.tail()}")

    async def stop(self) -> None:
        """Ask the process to stop; kill it and what it started if it does not."""
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        # The process leads its own group, so this reaches nothing that others started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs: the queue with its API and workers, and the servers they talk to."""

    folder: Path
    outlast: Server
    servers: Server
    url: str
    distances_url: str


@contextlib.asynccontextmanager
async def open_stage(folder: Path, places: Places) -> AsyncIterator[Stage]:
    """Start all processes in a folder, and stop them in the end, whatever happens."""
    async with contextlib.AsyncExitStack() as running:
        command = [sys.executable, str(HERE / "servers.py"), "--folder", str(folder / "servers")]
        ports = ["--smtp-port", "0", "--api-port", "0"]
        servers = Server.start("servers", [*command, *ports], folder=folder, environment={})
        running.push_async_callback(servers.stop)
        found = await servers.ready(r"ready smtp=(\S+) api=(\S+)\n")
        # Who presses Ctrl-C in the middle has no use for the half-done jobs: stop soon.
        environment = {"STUDIO_SMTP": found[1], "STUDIO_API": found[2], "OUTLAST_GRACE": "1"}
        environment |= {"OUTLAST_LEDGER": places.ledger, "OUTLAST_BROKER": places.broker}
        command = [sys.executable, "-m", "outlast", "dev", str(HERE / "app.py")]
        command += ["--host", "127.0.0.1", "--port", "0", "--processes", "2"]
        command += ["--blobs", str(folder / "blobs")]
        outlast = Server.start("outlast", command, folder=folder, environment=environment)
        running.push_async_callback(outlast.stop)
        url = (await outlast.ready(r"ready\b.*?(http://[^\s\",]+)"))[1].rstrip("/")
        yield Stage(folder, outlast, servers, url, distances_url=found[2])


class Api:
    """The calls that the demo makes to the HTTP API."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Make a call; raise DemoError with the server's own words when it is refused."""
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise DemoError(f"{method} {path}: {type(error).__name__}: {error}") from error
        if response.is_error:
            raise DemoError(f"{method} {path}: {response.status_code}: {response.text[:500]}")
        return response

    async def submit(
        self, task: str, args: Mapping[str, Any], *, key: str | None = None
    ) -> httpx.Response:
        """Submit a job."""
        headers = {"Idempotency-Key": key} if key else {}
        body = {"task": task, "args": args, "tags": ["demo"]}
        return await self.call("POST", "/v1/jobs", json=body, headers=headers)

    async def job(self, job_id: str) -> dict[str, Any]:
        """Return a job."""
        found: dict[str, Any] = (await self.call("GET", f"/v1/jobs/{job_id}")).json()
        return found

    async def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all jobs by ID."""
        listed = (await self.call("GET", "/v1/jobs", params={"limit": 100})).json()["jobs"]
        return {job["id"]: job for job in listed}

    async def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        """Return a job's events of one type, oldest first."""
        answer = await self.call("GET", f"/v1/jobs/{job_id}/events")
        return [event for event in answer.json()["events"] if event["type"] == kind]

    async def workers(self) -> list[dict[str, Any]]:
        """Return the workers."""
        found: list[dict[str, Any]] = (await self.call("GET", "/v1/workers")).json()["workers"]
        return found
