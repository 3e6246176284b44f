"""What the tests of the commands share: a ledger to look into, servers, commands as processes."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn

from outlast import Outlast
from outlast.api import create
from outlast.ledger import open_ledger


def using(url, work):
    """Do something with an open ledger."""

    async def session():
        ledger = open_ledger(url)
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return asyncio.run(session())


def spawn(*arguments):
    """Start a command in a process of its own, whose Ctrl-C is not ignored."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; from outlast.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd(),
    )  # fmt: skip


class Terminal:
    """A command on a terminal of its own, which a test reads, types on and looks at in the end."""

    def __init__(self, *arguments, columns=100):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self._before = termios.tcgetattr(self._master)
        code = (
            "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from outlast.cli import main; sys.exit(main())"
        )
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):  # the terminal's own size counts
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._after = termios.tcgetattr(self._master)
        os.close(self._master)

    def _read(self):
        try:
            part = os.read(self._master, 4_096).decode("utf-8", "replace")
        except OSError:  # how Linux says that nobody holds the other end any more
            part = ""
        self.shown += part
        return part

    def until(self, text):
        """Wait until a text has been shown."""
        while text not in self.shown:
            assert self._read(), f"it ended without showing {text!r}: {self.shown}"

    def press(self, keys):
        """Type on the keyboard."""
        os.write(self._master, keys)

    def end(self):
        """Wait for the end; return the exit code."""
        while self._read():
            pass
        return self._process.wait(timeout=20)

    @property
    def is_as_before(self):
        """Whether the cursor is there, and the terminal's mode is what it was."""
        hidden, back = self.shown.rfind("\x1b[?25l"), self.shown.rfind("\x1b[?25h")
        return back >= hidden and self._after == self._before


@contextmanager
def started(command, *arguments):
    """Run `outlast dev`, `api` or `worker` as a process; give what it says when it is ready."""
    port = () if command == "worker" else ("--port", "0")
    process = spawn(command, *arguments, *port, "--json")
    try:
        line = process.stdout.readline()
        assert line, f"{command} did not start: exit code {process.wait()}"
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


@contextmanager
def served(what):
    """Serve an app, or the ledger of a URL, over real HTTP from a thread, at once; give the URL.

    That a server also starts as a process of its own is the law of the tests that use `started`.
    """
    api = create(Outlast(ledger=what) if isinstance(what, str) else what)
    config = uvicorn.Config(
        api, log_level="critical", access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    # Who calls before the server listens is kept waiting by the socket: nobody has to poll.
    door = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, args=([door],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        door.close()
