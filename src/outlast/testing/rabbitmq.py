"""A private RabbitMQ: one node on a free port, with a name service and a cookie of its own.

Its programs are those of an installed server::

    with private_rabbitmq() as server:
        broker = open_broker(server.url)
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from outlast.core.errors import CapabilityError, UnavailableError
from outlast.system import ENTROPY
from outlast.testing.servers import STOP_S, Server, end_with_parent, free_port

_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_METHOD: Final = b"\x01"  # the frame that a server starts with
_DEFAULTS: Final = {
    "loopback_users": "none",
    "default_user": "outlast",
    "disk_free_limit.absolute": "10MB",
    "log.console.level": "error",
    "log.file": "false",
    "log.console": "true",
}


def programs() -> Path:
    """Return the folder with RabbitMQ's scripts; raise CapabilityError when there is none."""
    # Those before the wrappers of the distribution, which insist on a user and a place.
    homes = [Path("/usr/lib/rabbitmq/bin"), Path(shutil.which("rabbitmq-server") or "/").parent]
    for home in homes:
        if (home / "rabbitmq-server").exists() and shutil.which("epmd"):
            return home
    raise CapabilityError(
        "no RabbitMQ to start: expected rabbitmq-server and Erlang's epmd",
        hint="apt install rabbitmq-server",
    )


class RabbitServer(Server):
    """A node in a folder of its own, which it may make; ends with the process that started it.

    `settings` are added to `rabbitmq.conf`.
    """

    name = "RabbitMQ"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._programs = programs()
        self._password = ENTROPY.token(8).hex()
        self._names: subprocess.Popen[bytes] | None = None
        self._names_port, peers_port = free_port(), free_port()
        chosen = {
            **_DEFAULTS,
            "listeners.tcp.default": f"127.0.0.1:{self.port}",
            "default_pass": self._password,
            **(settings or {}),
        }
        lines = "".join(f"{name} = {value}\n" for name, value in chosen.items())
        (folder / "rabbitmq.conf").write_text(lines, "utf-8")
        (folder / "plugins").write_text("[].\n", "utf-8")
        cookie = folder / ".erlang.cookie"
        cookie.write_text(ENTROPY.token(16).hex(), "utf-8")
        cookie.chmod(0o400)
        self._env = {
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names_port),
            # Its script then becomes the node, instead of watching over one.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": "outlast@localhost",
            "RABBITMQ_DIST_PORT": str(peers_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    @property
    def url(self) -> str:
        """The address of its only virtual host, with user and password."""
        return f"amqp://outlast:{self._password}@127.0.0.1:{self.port}/%2F"

    def start(self) -> Self:
        """Start it, and wait until it takes connections."""
        if self._names is None:
            # The node would start one that outlives it.
            self._names = subprocess.Popen(  # noqa: S603 - a program of this machine
                [shutil.which("epmd") or "epmd", "-relaxed_command_check"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **self._env},
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - tells the kernel only
            )
        return self._launch(
            ["env", *(f"{name}={value}" for name, value in self._env.items()), self._server]
        )

    @property
    def _server(self) -> Path:
        return self._programs / "rabbitmq-server"

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on the node; return what it said."""
        done = subprocess.run(  # noqa: S603 - a program of this machine
            [self._programs / "rabbitmqctl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self._folder,
            env={**os.environ, **self._env},
            timeout=STOP_S,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")[-2_000:]
            raise UnavailableError(f"rabbitmqctl failed: {said}")
        return done.stdout.decode("utf-8", "replace")

    def close(self) -> None:
        """Stop the name service, too; the node can't be started again."""
        if self._names is not None:
            self._names.kill()
            self._names.wait(STOP_S)
            self._names = None

    def _is_ready(self) -> bool:
        """Whether it answers a client's first words."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(_HEADER)
                return line.recv(1) == _METHOD
        except OSError:
            return False


@contextmanager
def private_rabbitmq(settings: Mapping[str, str] | None = None) -> Iterator[RabbitServer]:
    """Give a node that runs, and remove all it wrote afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-rabbitmq-"))
    try:
        server = RabbitServer(folder, settings)
        try:
            with server:
                yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
