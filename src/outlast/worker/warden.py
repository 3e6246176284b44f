"""The warden of one job: a small process that starts it, watches it, and leaves nothing of it.

It stands between a worker and the processes of one attempt. It is their subreaper: whatever they
fork, in whatever session, ends up as its child, so when it has no child left, nothing is left. It
hears when its worker dies, by kill -9 too, and cleans up then as well. It needs the standard
library only, and so starts in some 20 ms.

The worker sends one JSON line that says what to start, and a T for each SIGTERM; the end of its
stream means that all shall go. The warden answers with one JSON line when the job's first process
has ended and nothing of its tree runs any more, and keeps the folder until that end.
"""

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from outlast.worker import cgroup
from outlast.worker.lifeline import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
)
from outlast.worker.tree import Tree

_WATCH_S: Final = 0.05  # where no control group counts
_SPARING: Final = 20  # a watch takes at most this part of a processor
_CPU_WATCH_S: Final = 0.25
_AGAIN_S: Final = 0.002
_ABSENT: Final = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC})
_SACRIFICE: Final = "500"  # in want of memory the kernel takes a job before a worker


class Warden:
    """One attempt's processes, from their start to the removal of their folder."""

    def __init__(self, control: socket.socket, spec: dict[str, Any]) -> None:
        self._control = control
        self._spec = spec
        self._folder = Path(spec["folder"])
        self._lock = self._folder.with_suffix(".lock")
        self._group: cgroup.Group | None = None
        self._tree = Tree()
        self._status: int | None = None  # of the job's first process, as waitpid gives it
        self._pid = 0
        self._why: str | None = None  # which wall the tree was killed for
        self._peak = 0
        self._refused_forks = 0

    def run(self) -> None:
        """Do all of it."""
        with self._lock.open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever sweeps leaves the folder to us
            try:
                self._folder.mkdir(mode=0o700)
                self._make_group()
                lock.write("\n".join(str(f) for f in self._group.folders) if self._group else "")
                lock.flush()
                self._tell(self._start() or self._watch())
                self._await_release()
            finally:
                self._clear()

    def _make_group(self) -> None:
        walls = self._spec["walls"]
        name = f"outlast-{self._folder.name}"
        self._group = cgroup.make(name, walls["memory"], walls["processes"], self._spec["cgroup"])

    def _start(self) -> dict[str, object] | None:
        """Start the job's first process; return a report when that can't be done."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        told, tells = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._become_the_job(tells)
        os.close(tells)
        for fd in self._spec["fds"]:
            os.close(fd)  # its end is the job's alone
        if self._spec["silent"]:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
        with os.fdopen(told, "rb") as file:
            failed = file.read()
        if not failed:
            return None
        self._end_tree()
        number, what = int(failed.split()[0]), failed.split()[1].decode()
        program, absent = self._spec["argv"][0], what == "exec" and number in _ABSENT
        return {"refused": f"{what} {program}: {os.strerror(number)}", "missing": absent}

    def _become_the_job(self, tells: int) -> NoReturn:
        doing = "confine"
        try:
            os.setsid()
            if self._group is not None:
                self._group.join()
            self._confine()
            os.chdir(self._spec["cwd"] or self._folder)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            environment = {
                **self._spec["env"],
                "TMPDIR": str(self._folder),
                "OUTLAST_PARENT": str(os.getppid()),
            }
            argv = self._spec["argv"]
            doing = "exec"
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - a shell is what must not be there
        except OSError as error:
            os.write(tells, f"{error.errno} {doing}".encode())
        finally:
            os._exit(127)

    def _confine(self) -> None:
        walls = self._spec["walls"]
        _lower(resource.RLIMIT_NOFILE, walls["files"])
        if self._group is None and (mine := self._tree.tasks_of_user()) is not None:
            # It counts all that the user runs, and root not at all: the watch is what counts here.
            _lower(resource.RLIMIT_NPROC, mine + walls["processes"])
        if walls["cpu_us"] is not None:
            _lower(resource.RLIMIT_CPU, walls["cpu_us"] // 1_000_000 + 2)  # should the watch fail
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_SACRIFICE)

    def _watch(self) -> dict[str, object]:
        """Wait until the first process has ended, or must end; nothing runs after that."""
        wake, bell = os.pipe()
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while self._reap() and self._status is None and not self._over_a_wall():
            ready, _, _ = select.select([self._control.fileno(), wake], [], [], self._pause())
            if wake in ready:
                os.read(wake, 4096)
            if self._control.fileno() in ready:
                asked = self._control.recv(64)
                if not asked:
                    break  # the worker let go, or died
                self._signal(signal.SIGTERM)
        signal.set_wakeup_fd(-1)
        self._end_tree()
        return self._report()

    def _pause(self) -> float | None:
        walls = self._spec["walls"]
        if self._group is None:
            return max(_WATCH_S, _SPARING * self._tree.look_s)
        return None if walls["cpu_us"] is None else _CPU_WATCH_S

    def _over_a_wall(self) -> bool:
        walls = self._spec["walls"]
        if self._group is None:
            self._tree.look(self._members(), walls["memory"])
            self._peak = max(self._peak, self._tree.bytes)
            if walls["memory"] is not None and self._tree.bytes > walls["memory"]:
                self._why = "memory"
            elif self._tree.tasks > walls["processes"]:
                self._why = "processes"
        if walls["cpu_us"] is not None and self._tree.cpu_us(self._members()) > walls["cpu_us"]:
            self._why = "cpu"
        return self._why is not None

    def _signal(self, number: signal.Signals) -> None:
        if self._tree.sees:
            self._tree.signal(self._members(), number)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    def _members(self) -> list[int]:
        found = self._tree.descendants()
        return list({*found, *self._group.members()}) if self._group is not None else found

    def _reap(self) -> bool:
        """Take note of whoever ended; say whether any child is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._pid:
                    self._status = status
        except ChildProcessError:
            return False

    def _end_tree(self) -> None:
        """Kill until no child is left, which is the kernel's word that no descendant is."""
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._refused_forks = self._group.refused_forks()  # before we refuse them all
                self._group.stop_forks()
        while True:
            # Stopped ones can't fork while the others are being killed.
            self._signal(signal.SIGSTOP)
            self._signal(signal.SIGKILL)
            if not self._reap():
                return
            select.select([], [], [], _AGAIN_S)

    def _report(self) -> dict[str, object]:
        group, status = self._group, self._status
        code = 1 if status is None else os.waitstatus_to_exitcode(status)
        peak = group.peak() if group is not None else None
        return {
            "exit_code": code,
            "why": self._why,
            "oom_kills": group.oom_kills() if group is not None else 0,
            "refused_forks": self._refused_forks,
            "peak": peak if peak is not None else self._peak or None,
        }

    def _tell(self, report: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # a dead worker hears nothing
            self._control.sendall(json.dumps(report).encode() + b"\n")

    def _await_release(self) -> None:
        """Keep the folder until the worker has taken from it what it wants."""
        with contextlib.suppress(OSError):
            while self._control.recv(64):
                pass

    def _clear(self) -> None:
        if self._group is not None:
            cgroup.remove(self._group.folders)
        remove_folder(self._folder)
        self._lock.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a job's folder, even where the job took its own rights to it away."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for parent, folders, _ in os.walk(folder):
            for name in folders:
                with contextlib.suppress(OSError):
                    Path(parent, name).chmod(0o700, follow_symlinks=False)
        shutil.rmtree(folder, ignore_errors=True)


def _lower(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _close_all_but(kept: set[int]) -> None:
    """Close what came along unasked: a worker's event loop may leave a copy of its pipes here."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names suffice
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def main() -> None:
    """Read what to start from the descriptor that the command line names, and see it through."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides, and its death is heard
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = control.recv(65536)
        if not piece:
            return  # the worker died first
        line += piece
    spec: dict[str, Any] = json.loads(line)
    _close_all_but({0, 1, 2, control.fileno(), *spec["fds"]})
    try:
        Warden(control, spec).run()
    except OSError as error:
        with contextlib.suppress(OSError):
            control.sendall(json.dumps({"refused": str(error), "missing": False}).encode() + b"\n")
