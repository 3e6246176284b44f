"""Starts the product as its users do, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@contextmanager
def fleet(
    folder: Path, *, command: str = "worker", processes: int = 1, extra: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Run `outlast worker` (or dev, api) on a ledger in this folder until the block ends."""
    arguments = [sys.executable, "-m", "outlast", command, str(ROOT / "bench" / "app.py"), "--json"]
    arguments += ["--ledger", f"sqlite:///{folder}/bench.db", "--blobs", f"{folder}/blobs"]
    if command != "api":
        arguments += ["--processes", str(processes)]
    process = subprocess.Popen([*arguments, *extra], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{command} did not start: exit code {process.wait()}")
        yield {**json.loads(line), "supervisor": process.pid}
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


def memory_mb(pid: int) -> float:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return the IDs of a process's children."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def parent_of(pid: int) -> int:
    """Return the ID of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
