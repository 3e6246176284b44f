"""What the tests of the commands share: a ledger to look into, servers, commands as processes."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
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


@contextmanager
def started(command, *arguments):
    """Run `outlast dev` or `outlast api` as a process; give what it says when it is ready."""
    process = spawn(command, *arguments, "--port", "0", "--json")
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
    config = uvicorn.Config(api, log_level="warning", access_log=False, ws="none")
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
