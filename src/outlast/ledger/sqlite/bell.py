"""Wake-ups between the processes that share a file: a datagram to every listener's socket."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from outlast.core.errors import UnavailableError


def meeting_place(path: str) -> Path:
    """Return the private folder for the sockets and locks of those who share this file."""
    return private_folder(os.path.realpath(path))


def private_folder(name: str) -> Path:
    """Return the folder in which this user's processes on this machine meet under a name."""
    digest = sha256(name.encode()).hexdigest()[:16]
    # Socket paths are limited to 107 bytes, so they can't lie beside the file.
    parent = Path(tempfile.gettempdir()) / f"outlast-{os.getuid()}"
    folder = parent / digest
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise UnavailableError(f"{parent} belongs to another user", hint="remove it, or set TMPDIR")
    parent.chmod(0o700)
    return folder


class SocketBell:
    """Rings across processes. A full or dead socket is ignored: whoever waits also sweeps."""

    def __init__(self, path: str, name: Callable[[], str]) -> None:
        self._folder = meeting_place(path)
        self._name = name
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.settimeout(0)
        self._in: socket.socket | None = None
        self._at: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rings = 0
        self._next = asyncio.Event()
        # Each task that waits has heard its own last ring: one must not swallow another's.
        self._heard: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    def ring(self) -> None:
        """Wake every listener of this ledger, in this process and the others."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - on every commit, so the cheap way
        except OSError:
            return
        for name in names:
            if not name.endswith(".bell"):
                continue
            target = f"{self._folder}/{name}"
            try:
                self._out.sendto(b"", target)
            except BlockingIOError:
                continue  # it has wake-ups waiting already
            except ConnectionRefusedError:
                Path(target).unlink(missing_ok=True)  # its process died
            except OSError:
                continue

    async def wait(self, timeout: float) -> None:
        """Return when the bell rang since this task's last wait, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._listen(loop)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is in a task
        if self._heard.get(task) == self._rings:
            try:
                async with asyncio.timeout(timeout):
                    await self._next.wait()
            except TimeoutError:
                return
        self._heard[task] = self._rings

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._hang_up()
        self._at = self._folder / f"{self._name()}.bell"
        self._in = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._in.settimeout(0)
        try:
            self._in.bind(str(self._at))
        except OSError as error:
            self._in.close()
            at, self._in, self._at = self._at, None, None
            raise UnavailableError(
                f"can't listen at {at}: {error.strerror or error}",
                hint="set TMPDIR to a shorter path that this user may write to",
            ) from error
        self._next = asyncio.Event()
        self._rings += 1  # what was rung before the socket was there
        loop.add_reader(self._in.fileno(), self._hear)
        self._loop = loop

    def _hear(self) -> None:
        assert self._in is not None  # noqa: S101 - the reader is removed before the socket
        try:
            while True:
                self._in.recv(1)
        except BlockingIOError:
            self._rings += 1
            rung, self._next = self._next, asyncio.Event()
            rung.set()

    def _hang_up(self) -> None:
        if self._in is not None and self._loop is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._in.fileno())
            self._in.close()
        if self._at is not None:
            self._at.unlink(missing_ok=True)
        self._in = self._at = self._loop = None

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._hang_up()
        self._out.close()
