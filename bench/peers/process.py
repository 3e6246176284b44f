"""Starts what a queue needs in processes of its own: the agent that submits, and workers."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LINE_MAX = 2**24


class PeerError(Exception):
    """A queue under measurement failed; the message tells what it said."""


def _environment(url: str, folder: Path, worker: int = 0) -> dict[str, str]:
    chosen = {"BENCH_URL": url, "BENCH_FOLDER": str(folder), "PYTHONPATH": str(ROOT)}
    # Some read theirs from here; what they need is the same for all.
    chosen |= {"PGDSN": url, "RQ_REDIS_URL": url, "BENCH_WORKER": f"worker-{worker}"}
    return {**os.environ, **chosen}


def _tail(path: Path) -> str:
    lines = path.read_text("utf-8", "replace").strip().splitlines() if path.exists() else []
    return "\n".join(lines[-12:]) or "it said nothing"


class Agent:
    """The process that submits: one order, one answer."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def ask(self, timeout: float = 300, **order: Any) -> dict[str, Any]:
        """Send an order; return its answer, or raise PeerError with what it said instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if order:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
        except TimeoutError:
            what = order.get("do", "start")
            raise PeerError(f"{what}: no answer in {timeout:g} s\n{_tail(self._log)}") from None
        if not line:
            await asyncio.wait_for(self._process.wait(), 30)
            raise PeerError(_tail(self._log))
        return json.loads(line)


@asynccontextmanager
async def agent(
    python: Path, adapter: str, url: str, folder: Path
) -> AsyncIterator[tuple[Agent, dict[str, Any]]]:
    """Run the agent until the block ends; give it, and what it says of its queue."""
    log = folder / "agent.log"
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            str(python), "-m", "bench.peers.agent", adapter,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, cwd=ROOT,
            env=_environment(url, folder), start_new_session=True, limit=LINE_MAX,
        )  # fmt: skip
    try:
        running = Agent(process, log)
        yield running, await running.ask(timeout=60)
    finally:
        kill_tree(process.pid)
        await process.wait()


class Worker:
    """One command of a queue's workers, and all the processes that it makes."""

    def __init__(self, command: list[str], url: str, folder: Path, number: int) -> None:
        self._command = command
        self._environment = _environment(url, folder, number)
        self.log = folder / f"worker-{number}.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                cwd=ROOT, env=self._environment, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise PeerError if it has ended."""
        if self._process.poll() is not None:
            raise PeerError(f"exit code {self._process.returncode}: {_tail(self.log)}")

    def said(self) -> str:
        return _tail(self.log)

    def kill(self) -> None:
        """Kill -9 it with everything that it started."""
        kill_tree(self.pid)
        self._process.wait()


@contextmanager
def workers(commands: list[list[str]], url: str, folder: Path) -> Iterator[list[Worker]]:
    """Run workers until the block ends."""
    running: list[Worker] = []
    try:
        for number, command in enumerate(commands, 1):
            running.append(Worker(command, url, folder, number))
        yield running
    finally:
        for worker in running:
            worker.kill()


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it, parents first."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text().split())
    return found


def kill_tree(pid: int) -> None:
    """Kill -9 a process and its descendants, parents first, so that none can react."""
    for member in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its descendants; what they share is counted once."""
    kilobytes = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
            kilobytes += next(int(s.split()[1]) for s in text.splitlines() if s[:4] == "Pss:")
    return kilobytes / 1_000
