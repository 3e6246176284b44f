"""`python -m bench.frameworks`: the submit route under each web framework and server.

Each framework does for the route what its documentation shows: its own routing, reading of the
body and writing of the answer; what is submitted, checked and stored is the product's code.
"""

import argparse
import gc
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.app import app
from bench.fleet import memory_mb
from bench.http import measure
from outlast.api.body import parse
from outlast.api.context import Context
from outlast.api.fresh import written
from outlast.api.guard import ANYBODY
from outlast.api.submit import build
from outlast.sdk.settings import Settings

FRAMEWORKS = ("starlette", "fastapi", "litestar")
SERVERS = ("uvicorn", "granian")
KINDS = ("constant", "jobs")
CONSTANT = b"x" * 700
LOCATION = "/v1/jobs/x"

context: Context


@asynccontextmanager
async def opened(_: Any) -> Any:
    """Open the ledger for as long as the server runs."""
    global context  # noqa: PLW0603 - one server a process
    async with app:
        context = Context(app)
        gc.collect()
        gc.freeze()
        yield
        await context.watch.close()


async def submitted(raw: bytes) -> tuple[bytes, str]:
    """Do what the submit route has to do; return the answer and its location."""
    job = build(context, parse(raw), ANYBODY, None)
    (inserted,) = await app.ledger.insert([job])
    return written(job, inserted.at_us), f"/v1/jobs/{job.id}"


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def constant(request: Request) -> Response:
        await request.body()
        return Response(CONSTANT, 202, {"Location": LOCATION}, "application/json")

    async def jobs(request: Request) -> Response:
        body, location = await submitted(await request.body())
        return Response(body, 202, {"Location": location}, "application/json")

    ways = [Route("/constant", constant, methods=["POST"]), Route("/jobs", jobs, methods=["POST"])]
    return Starlette(routes=ways, lifespan=opened)


def fastapi_app() -> Any:
    from fastapi import FastAPI, Request, Response

    made = FastAPI(lifespan=opened)

    @made.post("/constant")
    async def constant(request: Request) -> Response:
        await request.body()
        return Response(CONSTANT, 202, {"Location": LOCATION}, "application/json")

    @made.post("/jobs")
    async def jobs(request: Request) -> Response:
        body, location = await submitted(await request.body())
        return Response(body, 202, {"Location": location}, "application/json")

    return made


def litestar_app() -> Any:
    from litestar import Litestar, Request, Response, post

    @post("/constant", status_code=202)
    async def constant(request: Request[Any, Any, Any]) -> Response[bytes]:
        await request.body()
        headers = {"Location": LOCATION}
        return Response(CONSTANT, media_type="application/json", headers=headers)

    @post("/jobs", status_code=202)
    async def jobs(request: Request[Any, Any, Any]) -> Response[bytes]:
        body, location = await submitted(await request.body())
        return Response(body, media_type="application/json", headers={"Location": location})

    return Litestar([constant, jobs], lifespan=[opened], openapi_config=None)


def serve(framework: str, server: str, folder: str) -> None:
    """Serve one pair, in one process, on a free port that the first line names."""
    app.configure(Settings(ledger=f"sqlite:///{folder}/bench.db", blobs=f"{folder}/blobs"))
    made = {"starlette": starlette_app, "fastapi": fastapi_app, "litestar": litestar_app}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    print(port, flush=True)
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(
            made[framework](), port=port, log_level="warning", access_log=False, proxy_headers=False
        )
        return
    import uvloop
    from granian.constants import Interfaces
    from granian.server.embed import Server

    asgi = made[framework]()
    uvloop.run(Server(asgi, address="127.0.0.1", port=port, interface=Interfaces.ASGI).serve())


@contextmanager
def _running(framework: str, server: str) -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-m", "bench.frameworks", "--serve", framework, server]
    with TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
        pipe = subprocess.PIPE
        with subprocess.Popen([*command, folder], stdout=pipe, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            try:
                _wait_for(port)
                yield port, process.pid
            finally:
                process.kill()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def _row(framework: str, server: str, count: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with _running(framework, server) as (port, pid):
        for kind in KINDS:
            measure(port, 1_000, f"/{kind}")
            for name, value in measure(port, count, f"/{kind}").items():
                found[f"{kind}_{name}"] = value
        found["rss_mb"] = memory_mb(pid)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.frameworks", description=__doc__)
    parser.add_argument("--serve", nargs=3, metavar=("FRAMEWORK", "SERVER", "FOLDER"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.serve:
        serve(*given.serve)
        return
    pairs = [(framework, server) for server in SERVERS for framework in FRAMEWORKS]
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {pair: [] for pair in pairs}
    for _ in range(given.rounds):  # in turns, so that a busy moment of the machine hits them all
        for pair in pairs:
            rounds[pair].append(_row(*pair, given.count))
    rows = {
        pair: {name: statistics.median(r[name] for r in found) for name in found[0]}
        for pair, found in rounds.items()
    }
    if given.json:
        print(json.dumps([{"framework": f, "server": s, **row} for (f, s), row in rows.items()]))
        return
    heads = f"{'constant/s':>11}{'jobs/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'MB':>6}"
    print(f"{'framework':<12}{'server':<10}{heads}")
    for (framework, server), row in rows.items():
        print(
            f"{framework:<12}{server:<10}{row['constant_rate']:>11,.0f}{row['jobs_rate']:>9,.0f}"
            f"{row['jobs_p50']:>8.2f}{row['jobs_p99']:>8.2f}{row['rss_mb']:>6.0f}"
        )


if __name__ == "__main__":
    main()
