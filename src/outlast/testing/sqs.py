"""A private SQS for tests: moto's server on a free port, which keeps its queues in memory.

It is a process of its own, so it can be stopped, killed and restarted, which empties it::

    with private_sqs() as server:
        broker = open_broker(server.url)
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from outlast.core.errors import CapabilityError
from outlast.testing.servers import Server

REGION: Final = "eu-central-1"
KEYS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# It counts all messages of a queue, for each that is received, to find that none is too old.
_PROGRAM: Final = """
from moto.server import main
from moto.sqs.models import SQSBackend
SQSBackend.is_message_valid_based_on_retention_period = lambda *_: True
main()
"""


class SqsServer(Server):
    """A server that speaks SQS; what it is given is gone when it ends."""

    name = "SQS"

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        if find_spec("moto") is None:
            raise CapabilityError("no SQS to start: expected moto", hint="pip install 'moto[sqs]'")
        super().__init__(folder)
        self._strict = strict  # whether it looks at credentials

    @property
    def endpoint(self) -> str:
        """Where it takes requests."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The broker's URL, with a visibility that a test can wait for."""
        return f"sqs://{REGION}/outlast?endpoint={self.endpoint}&visibility=2"

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if self._strict else {}
        chosen = [f"{name}={value}" for name, value in environment.items()]
        place = ("-H", "127.0.0.1", "-p", str(self.port))
        return self._launch(["/usr/bin/env", *chosen, sys.executable, "-c", _PROGRAM, *place])


@contextmanager
def private_sqs(*, strict: bool = False) -> Iterator[SqsServer]:
    """Give a server that runs, and remove all it wrote afterwards; its keys are in the environment.

    A strict one looks at credentials, and knows none.
    """
    folder = Path(tempfile.mkdtemp(prefix="outlast-sqs-"))
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    try:
        with SqsServer(folder, strict=strict) as server:
            yield server
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
