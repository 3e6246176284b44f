"""What every private server of the tests is: a program in a folder of its own, on a free port."""

import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import ClassVar, Final, Self

from outlast.core.errors import UnavailableError
from outlast.core.limits import SECOND
from outlast.system import CLOCK
from outlast.worker.lifeline import PR_SET_PDEATHSIG, prctl

START_US: Final = 60 * SECOND
STOP_S: Final = 60
_POLL_S: Final = 0.01


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_with_parent(how: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it runs a program: ask for a signal when we die."""
    return lambda: prctl(PR_SET_PDEATHSIG, how)


class Server(ABC):
    """A server in a folder of its own, which it may make; ends with the process that started it."""

    name: ClassVar[str]
    gentle: ClassVar[signal.Signals] = signal.SIGTERM  # how it is stopped unless told otherwise
    orphaned: ClassVar[signal.Signals] = signal.SIGKILL  # what ends it when we die

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._user: int | None = None  # whom it runs as, if not as we do
        self.port = free_port()

    @property
    def pid(self) -> int:
        """The process ID of the server that runs."""
        assert self._process is not None
        return self._process.pid

    @abstractmethod
    def start(self) -> Self:
        """Start it, and wait until it takes connections."""

    def _is_ready(self) -> bool:
        """Whether it takes connections by now; those that do so too early look more closely."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False

    def _launch(self, command: Sequence[str | Path]) -> Self:
        log = self._folder / "server.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - a program of this machine
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self._folder,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else (),
                start_new_session=True,
                preexec_fn=end_with_parent(self.orphaned),  # noqa: PLW1509 - tells the kernel only
            )
        deadline = CLOCK.elapsed_us() + START_US
        while not self._is_ready():
            if self._process.poll() is not None or CLOCK.elapsed_us() > deadline:
                said = log.read_text("utf-8", "replace")[-2_000:]
                raise UnavailableError(f"the private {self.name} did not start: {said}")
            Event().wait(_POLL_S)
        return self

    def stop(self, how: signal.Signals | None = None) -> None:
        """Stop it by this signal, or gently."""
        if self._process is not None:
            self._process.send_signal(how or self.gentle)
            self._process.wait(STOP_S)
            self._process = None

    def restart(self, how: signal.Signals | None = None) -> None:
        """Stop and start it, on the same port."""
        self.stop(how)
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
