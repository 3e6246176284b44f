"""The figure of a web service: `POST /v1/jobs` beside the same server answering a constant."""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.app import app
from bench.figures import Figure
from outlast.api import create
from outlast.sdk.settings import Settings
from outlast.system import CLOCK

CONNECTIONS = 32
ROUNDS = 3
BODY = b'{"task": "noop", "args": {"n": 1}}'


async def _constant(request: Request) -> Response:
    """Read the body and answer as many bytes as a job has, without looking at anything."""
    await request.body()
    return Response(b"x" * 700, 202, {"Location": "/v1/jobs/x"}, "application/json")


def serve(kind: str, folder: str) -> None:
    """Serve one of the two, with the settings of `outlast api`."""
    made = Starlette(routes=[Route("/v1/jobs", _constant, methods=["POST"])])
    if kind == "jobs":
        app.configure(
            Settings(
                ledger=f"sqlite:///{folder}/bench.db",
                blobs=f"{folder}/blobs",
            )
        )
        made = create(app)
    config = uvicorn.Config(
        made, port=0, log_level="warning", access_log=False, proxy_headers=False
    )
    gc.collect()
    gc.freeze()
    listening = config.bind_socket()
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listening])


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.http", "serve", kind, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class _Connection(asyncio.Protocol):
    """Sends one request after the other and notes how long each took; parses next to nothing."""

    def __init__(self, requests: Iterator[int], host: str, path: str) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._requests = requests
        self._buffer = b""
        self._sent_at = 0
        self.took: list[int] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if next(self._requests, None) is None:
            self._transport.close()
            return
        self._sent_at = CLOCK.elapsed_us()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self.done.set_exception(RuntimeError(f"{head[:80]!r} {body[:300]!r}"))
            self._transport.close()
            return
        self.took.append(CLOCK.elapsed_us() - self._sent_at)
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, count: int, path: str) -> None:
    """Send `count` requests over the connections; print the rate and the percentiles as JSON."""
    loop, requests = asyncio.get_running_loop(), iter(range(count))
    start = CLOCK.elapsed_us()
    made = [
        await loop.create_connection(
            lambda: _Connection(requests, f"127.0.0.1:{port}", path), "127.0.0.1", port
        )
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    seconds = (CLOCK.elapsed_us() - start) / 1_000_000
    took = sorted(us for _, connection in made for us in connection.took)
    figures = {"rate": len(took) / seconds}
    figures |= {f"p{n}": took[len(took) * n // 100] / 1_000 for n in (50, 99)}
    print(json.dumps(figures))


def measure(port: int, count: int, path: str = "/v1/jobs") -> dict[str, float]:
    """Measure from a process of its own, so that the client's work is not the server's."""
    command = [sys.executable, "-m", "bench.http", "load", str(port), str(count), path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def posts(folder: Path, scale: float) -> list[Figure]:
    """Submit over HTTP with 32 connections, in turns with asking for the constant answer."""
    count = max(1_000, int(10_000 * scale))
    with _server("constant", folder) as constant, _server("jobs", folder) as jobs:
        for port in (constant, jobs):
            measure(port, 1_000)
        rounds = [(measure(constant, count), measure(jobs, count)) for _ in range(ROUNDS)]
    raw = statistics.median(c["rate"] for c, _ in rounds)
    rate = statistics.median(j["rate"] for _, j in rounds)
    p50, p99 = (statistics.median(j[name] for _, j in rounds) for name in ("p50", "p99"))
    return [
        Figure("HTTP submit, 32 connections", rate, "jobs/s", raw, "≥ 0.5", rate >= 0.5 * raw),
        Figure("HTTP submit p50", p50, "ms"),
        Figure("HTTP submit p99", p99, "ms", None, "≤ 25", p99 <= 25),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "load"])
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("path", nargs="?", default="/v1/jobs")
    given = parser.parse_args()
    if given.what == "serve":
        serve(given.first, given.second)
    else:
        import uvloop

        uvloop.run(load(int(given.first), int(given.second), given.path))
