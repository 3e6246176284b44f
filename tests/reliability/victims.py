"""Real API, worker and supervisor processes that are killed at one of their acts on the disk."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from outlast.cli import child, processes
from outlast.ledger.sqlite import lane
from outlast.sdk.settings import Settings
from outlast.testing.disk import Disk
from outlast.upkeep.deathwatch import MARK

APP = str(Path(__file__).with_name("crash_jobs.py"))
HOLDER = "the-victim"
# Forked from a process that has loaded everything: a start costs milliseconds, not half a second.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.reliability.victims", "outlast.api", "uvicorn", "uvloop", "httptools", "websockets"]
)


def settings_of(folder, port=0):
    return Settings(
        ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs",
        port=port, concurrency=1, processes=1,
    )  # fmt: skip


def commit_apart():
    """Plant a bug: every statement is a transaction of its own."""
    for verb in ("begin", "commit"):
        setattr(lane, verb, lambda *_, **__: None)


def die_after_the_commit():
    """Die as soon as a job is durable, before anybody is told."""
    real = lane.commit

    def commit(db):
        real(db)
        if db.execute("SELECT 1 FROM job LIMIT 1").fetchone():
            os.kill(os.getpid(), signal.SIGKILL)

    lane.commit = commit


def _be(kind, settings, gate, point, planted):
    """Be one of the processes, and die before an act on the disk: its first is number 0."""

    def die(act):
        if act.number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    gate.recv()
    if planted is not None:
        planted()
    os.environ[MARK] = HOLDER
    with ExitStack() as stack:
        if point is not None:
            stack.enter_context(Disk(before=die))
        if kind == "supervisor":
            processes.run(APP, settings=settings, api=False, worker=True, ready=gate.send)
        else:
            child.main([kind, APP, json.dumps(asdict(settings))])


class Victim:
    """A process to be killed: by its own disk before act number `point`, or by strace."""

    def __init__(self, kind, settings, *, point=None, strace=None, planted=None):
        self._gate, theirs = FORKS.Pipe()
        self.process = FORKS.Process(target=_be, args=(kind, settings, theirs, point, planted))
        self.process.start()
        theirs.close()
        self._wanted, self._tracer = strace, None
        if strace and kind != "supervisor":
            self._tracer = attach(self.process.pid, *strace, follow=True)
        self._gate.send("go")

    @property
    def is_alive(self):
        return self.process.is_alive()

    def ready(self, seconds=30):
        """Wait until a supervisor says that it is ready; return whether it did."""
        try:
            if not self._gate.poll(seconds) or self._gate.recv() is None:
                return False
        except EOFError:
            return False
        if self._wanted:
            # Its children are not to be traced: only what it has of threads by now.
            self._tracer = attach(self.process.pid, *self._wanted, follow=False)
        return True

    def end(self):
        """Ask it to stop, if it still runs; return whether it was killed at its point."""
        self.process.terminate()
        self.process.join(30)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError("a process did not stop within 30 s")
        if self._tracer is not None:
            self._tracer.communicate(timeout=30)
        self._gate.close()
        return self.process.exitcode == -signal.SIGKILL


def attach(pid, call, number, *, follow):
    """Have strace kill a process, all of its threads, at a thread's n-th such system call."""
    how = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    threads = [pid] if follow else [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
    whom = [part for thread in threads for part in ("-p", str(thread))]
    tracer = subprocess.Popen(
        ["strace", *(["-f"] if follow else []), *how, "-o", os.devnull, *whom],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in threads:
        line = tracer.stderr.readline()
        assert "attached" in line, line
    return tracer


def can_trace():
    """Whether strace is here and may attach."""
    return os.geteuid() == 0 and shutil.which("strace") is not None


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


@contextmanager
def fresh(template, place):
    """Copy an empty, migrated ledger to a place, always the same, for one life."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
