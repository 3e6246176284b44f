"""What a supervisor says to whoever watches over it: HTTP probes, and systemd's datagrams."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from outlast.cli.lookout import LEDGER_BOUND_S, Systemd
from tests.cli.rig import spawn, started, using
from tests.postgres import PLAIN
from tests.reliability.network import network

WITHIN_S = 20.0


def ask(base, path):
    """Return the status and the line of an answer."""
    try:
        with urlopen(f"{base}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()


def until(base, path, status):
    """Ask again until the answer has this status; return its line."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        found, line = ask(base, path)
        if found == status:
            return line
    raise AssertionError(f"{path} never answered {status}, last {found} {line}")


@pytest.fixture
def live(app, url, start):
    """A worker that answers probes; what it said when it was ready."""
    return start("worker", "--ledger", url, "--processes", "2", "--health-port", "0")


def test_a_worker_is_live_and_ready_when_its_processes_are_up(live):
    base = live["health"]

    assert ask(base, "/livez") == (200, "ok")
    assert ask(base, "/readyz") == (200, "ok")
    assert ask(base, "/elsewhere") == (404, "expected /livez or /readyz")


def test_a_child_that_died_costs_readiness_until_its_successor_is_up(live, url, app, tmp_path):
    """The successors wait in the midst of their start for as long as the test wants."""
    base, gate = live["health"], tmp_path / "gate"
    os.mkfifo(gate)
    app.write_text(f"open({str(gate)!r}).close()\n{app.read_text('utf-8')}", "utf-8")
    docs = using(url, lambda ledger: ledger.docs("worker"))

    for doc in docs:
        os.kill(json.loads(doc.doc)["pid"], signal.SIGKILL)

    assert until(base, "/readyz", 503).startswith("workers: expected 2, ")
    assert ask(base, "/livez") == (200, "ok")
    app.write_text(app.read_text("utf-8").partition("\n")[2], "utf-8")
    door = os.open(gate, os.O_RDWR)  # lets whoever waits there through, and waits for nobody
    try:
        assert until(base, "/readyz", 200) == "ok"
    finally:
        os.close(door)


async def test_a_ledger_that_does_not_answer_costs_readiness_and_not_life(app, database):
    """A network that swallows every answer, and refuses nothing."""
    async with network(database + PLAIN) as between:
        ledger = ("--ledger", between.url)
        worker = started("worker", app, *ledger, "--processes", "1", "--health-port", "0")
        base = (await asyncio.to_thread(worker.__enter__))["health"]
        try:
            before = await asyncio.to_thread(ask, base, "/readyz")

            between.answers.clear()
            began = time.monotonic()
            line = await asyncio.to_thread(until, base, "/readyz", 503)
            took = time.monotonic() - began
            alive = await asyncio.to_thread(ask, base, "/livez")
            between.answers.set()
            after = await asyncio.to_thread(until, base, "/readyz", 200)
        finally:
            await asyncio.to_thread(worker.__exit__, None, None, None)

    assert line.startswith("ledger: expected an answer within 2 s")
    assert took < LEDGER_BOUND_S + 3
    assert (before, alive, after) == ((200, "ok"), (200, "ok"), "ok")


def test_the_server_says_its_own_api_is_part_of_being_ready(start, url):
    ready = start("api", "--ledger", url, "--health-port", "0")

    assert ask(ready["health"], "/readyz") == (200, "ok")
    assert ask(ready["url"], "/readyz")[0] == 200


def test_a_taken_health_port_is_told_at_once(run, app, url):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("worker", app, "--health-port", port, "--ledger", url)

    assert result.exit_code == 7
    assert f"port {port}" in result.stderr
    assert "--health-port" in result.stderr


def test_whoever_says_nothing_or_too_much_keeps_nobody_from_an_answer(live):
    address = urlsplit(live["health"])
    silent = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
    with socket.create_connection((address.hostname, address.port)) as loud:
        loud.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000)

        assert ask(live["health"], "/livez") == (200, "ok")
        assert b"200" not in loud.recv(100)

    for one in silent:
        assert one.recv(1) == b""  # closed when its time was up
        one.close()


def test_the_image_can_ask_without_curl(live):
    port = live["health"].rpartition(":")[2]

    def probe(path, port):
        command = [sys.executable, "-m", "outlast.cli.probe", path]
        environment = {**os.environ, "OUTLAST_HEALTH_PORT": port}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (probe("livez", port).returncode, probe("readyz", port).returncode) == (0, 0)
    assert probe("elsewhere", port).returncode == 1
    assert probe("livez", "1").returncode == 1
    assert "OUTLAST_HEALTH_PORT" in probe("livez", "").stderr


def heard_until(box, wanted):
    """Read what systemd is told until a line comes."""
    told = []
    while wanted not in told:
        told += box.recv(4_096).decode().splitlines()
    return told


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_readiness_a_steady_beat_and_the_end(
    app, url, tmp_path, monkeypatch, abstract
):
    name = f"@outlast-{os.getpid()}" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind("\0" + name[1:] if abstract else name)
        box.settimeout(WITHIN_S)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        process = spawn("worker", app, "--ledger", url, "--processes", "1")
        try:
            heard_until(box, "READY=1")
            beats = heard_until(box, "WATCHDOG=1") + heard_until(box, "WATCHDOG=1")
            process.send_signal(signal.SIGSTOP)
            box.settimeout(0.5)  # what was sent before
            with pytest.raises(TimeoutError):
                heard_until(box, "a beat of a supervisor that stands still")
            box.settimeout(WITHIN_S)
            process.send_signal(signal.SIGCONT)
            heard_until(box, "WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            heard_until(box, "STOPPING=1")
            process.communicate(timeout=20)
        finally:
            process.kill()
            process.communicate()

    assert "STOPPING=1" not in beats
    assert process.returncode == 0


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed():
    said = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}

    systemd = Systemd(said)

    assert systemd._beat_s == 0
    assert said == {}
    systemd.tell("READY=1")  # nobody is there, and that is no fault


def test_a_worker_leaves_the_queues_to_others_that_it_is_told_to(run, start, app, url, tmp_path):
    """A node for all queues but those that have nodes of their own."""
    (tmp_path / "outlast.yaml").write_text("queues:\n  slow: {worker_count: 1}\n")
    start("worker", "--ledger", url, "--processes", "1", "--except-queue", "slow")
    other = run("submit", app, "add", "a=1", "b=2", "--queue", "slow", "--json", "--ledger", url)

    mine = run("submit", app, "add", "a=1", "b=2", "--wait", "--ledger", url)

    job = json.loads(other.stdout)["id"]
    assert mine.stdout == "3\n"
    assert '"pending"' in run("show", job, "--json", "--ledger", url).stdout


def test_a_worker_with_nothing_left_to_do_is_ready_and_idle(start, app, url):
    ready = start("worker", "--ledger", url, "--except-queue", "default", "--health-port", "0")

    assert ready["workers"] == 0
    assert ask(ready["health"], "/readyz") == (200, "ok")


def test_no_queue_at_all_is_refused(run, app, url):
    queues = ("--queue", "slow", "--except-queue", "slow")

    result = run("worker", app, "--ledger", url, *queues)

    assert result.exit_code == 2
    assert "slow" in result.stderr
