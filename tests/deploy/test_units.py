"""The units of a rendered systemd target, started as systemd would start them."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

import pytest

from outlast.deploy import Plan, render
from outlast.sdk.settings import Settings

APP = """\
from outlast import Outlast

app = Outlast()


@app.task(queue="fast")
async def fast(n: int) -> int:
    return n + 1


@app.task(queue="slow")
async def slow(n: int) -> int:
    return n + 2


@app.task
async def other(n: int) -> int:
    return n + 3
"""
CONFIG = """\
grace: 5s
queues:
  fast: {worker_count: 2, instance_type: t3.medium}
  slow: {worker_count: 1}
deploy:
  name: studio
  app: app.py
  queues:
    fast: {replicas: 2}
"""
WITHIN_S = 30.0


def lines_of(unit, name):
    return [line.partition("=")[2] for line in unit.splitlines() if line.partition("=")[0] == name]


class Machine:
    """What of systemd a unit of ours needs: variables, commands in their order, notifications."""

    def __init__(self, run, secrets):
        self._secrets = secrets
        self._run = run
        self.processes = []

    def _environment(self, unit):
        (place,) = lines_of(unit, "EnvironmentFile")
        assert place == "/etc/studio/studio.env"
        said = dict(line.split("=", 1) for line in lines_of(unit, "Environment"))
        assert said == {"TMPDIR": "/run/studio"}
        return {"PATH": os.environ["PATH"], **self._secrets, "TMPDIR": self._run}

    def start(self, name, unit):
        """Start a service; return when it says that it is ready."""
        environment = self._environment(unit)
        (folder,) = lines_of(unit, "WorkingDirectory")
        for command in lines_of(unit, "ExecStartPre"):
            subprocess.run(shlex.split(command), cwd=folder, env=environment, check=True)
        place = Path(self._run) / f"{name}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
            box.bind(str(place))
            box.settimeout(WITHIN_S)
            (command,) = lines_of(unit, "ExecStart")
            process = subprocess.Popen(
                shlex.split(command), cwd=folder, env={**environment, "NOTIFY_SOCKET": str(place)}
            )
            self.processes.append(process)
            while b"READY=1" not in box.recv(4_096):
                pass

    def stop(self):
        """Stop every service; return the exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(WITHIN_S) for process in self.processes]


@contextmanager
def machine(secrets):
    with TemporaryDirectory() as run:  # as short as /run/studio: sockets are made below it
        made = Machine(run, secrets)
        try:
            yield made
        finally:
            for process in made.processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(base, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Prefer": "wait=20"}
    with urlopen(Request(f"{base}{path}", data, headers)) as answer:
        return json.load(answer)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the app is installed: its code, its settings, and an environment with the command."""
    place = tmp_path / "opt"
    (place / ".venv/bin").mkdir(parents=True)
    (place / ".venv/bin/outlast").symlink_to(Path(sys.executable).parent / "outlast")
    (place / "app.py").write_text(APP, "utf-8")
    (place / "outlast.yaml").write_text(CONFIG + f"  folder: {place}\n", "utf-8")
    for name in [name for name in os.environ if name.startswith("OUTLAST_")]:
        monkeypatch.delenv(name)
    return place


@pytest.mark.slow
def test_the_units_of_a_target_do_jobs_of_every_queue_and_end_when_asked(folder, tmp_path):
    units = render("systemd", Plan.of(Settings.load(config=str(folder / "outlast.yaml"))))
    wanted = lines_of(units["studio.target"], "Wants")[0].split()
    port = free_port()
    secrets = {
        "OUTLAST_LEDGER": f"sqlite:///{tmp_path}/outlast.db",
        "OUTLAST_BLOBS": f"{tmp_path}/blobs",
        "OUTLAST_PORT": str(port),
    }

    with machine(secrets) as one:
        for name in wanted:
            template = name.partition("@")[0] + "@.service" if "@" in name else name
            one.start(name, units[template])
        base = f"http://127.0.0.1:{port}"
        results = [
            call(base, "/v1/jobs", {"task": task, "args": {"n": 1}})["result"]
            for task in ("fast", "slow", "other")
        ]
        workers = call(base, "/v1/workers")["workers"]
        codes = one.stop()

    assert len(wanted) == 5
    assert results == [2, 3, 4]
    queues = sorted(tuple(worker["queues"]) for worker in workers)
    assert queues == [("default",)] * 2 + [("fast",)] * 2 + [("slow",)]
    assert codes == [0] * 5
