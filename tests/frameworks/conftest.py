"""Runs the examples as their READMEs say: each command in a process, in a copy of the folder."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.pages import ROOT, commands
from tests.worker.rig import DEADLINE_S

BIN = Path(sys.executable).parent


class Service:
    """A web service and its worker, started by the two commands of an example's README."""

    def __init__(self, name, folder, stack):
        self.folder = folder / name
        self._stack = stack
        shutil.copytree(
            ROOT / "examples" / name, self.folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        page = f"examples/{name}/README.md"
        self.commands = [words for _, words in commands(page, (ROOT / page).read_text("utf-8"))]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OUTLAST_")}
        self.environment = {
            **kept,
            "PATH": f"{BIN}:{kept['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "UVICORN_PORT": str(self.port),
            "FLASK_RUN_PORT": str(self.port),
        }

    def start(self, words, ready):
        """Start one command and return when it has said `ready`."""
        process = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._stack.callback(_end, process)
        said = []
        for line in process.stdout:
            said.append(line)
            if ready in line:
                # Read on, so that nobody waits for a full pipe.
                Thread(target=process.stdout.read, daemon=True).start()
                return process
        raise AssertionError(f"{words} ended with {process.wait()}: {''.join(said)}")

    def client(self):
        return self._stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=DEADLINE_S)
        )


def _end(process):
    process.terminate()
    try:
        process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def service(tmp_path):
    with ExitStack() as stack:
        yield lambda name: Service(name, tmp_path, stack)
