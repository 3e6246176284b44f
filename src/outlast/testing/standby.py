"""A second PostgreSQL that follows a private one, and takes its place when that is dead.

::

    with private_postgres() as primary, private_standby(primary, is_waited_for=True) as standby:
        ledger = open_ledger(either(primary, standby, primary.create("test")))
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from outlast.testing.postgres import USER, PostgresServer

NAME: Final = "standby"


class StandbyServer(PostgresServer):
    """A server that streams what a running one writes."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(folder)
        self._password = primary._password

    def promote(self) -> None:
        """Let it be the primary, and take writes from now on."""
        self.run("pg_ctl", "promote", "--pgdata", str(self._data))

    def _prepare(self) -> None:
        """Copy the data of the primary, which goes on."""
        place = f"host=127.0.0.1 port={self._primary.port} user={USER} application_name={NAME}"
        self._run(
            "pg_basebackup", "--pgdata", str(self._data), "--write-recovery-conf",
            "--checkpoint=fast", "--no-sync", "--dbname", place,
            env={**os.environ, "PGPASSWORD": self._primary._password},
        )  # fmt: skip


@contextmanager
def private_standby(primary: PostgresServer, *, is_waited_for: bool) -> Iterator[StandbyServer]:
    """Give a standby that runs; a commit waits until it has it on its disk, or not."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-standby-"))
    try:
        with StandbyServer(folder, primary) as standby:
            if is_waited_for:
                primary.change({"synchronous_standby_names": NAME})
            yield standby
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def either(first: PostgresServer, second: PostgresServer, url: str) -> str:
    """Return the URL of a database of one of them as one that names both."""
    place = f"127.0.0.1:{first.port}"
    return url.replace(place, f"{place},127.0.0.1:{second.port}")


def kill_whole(server: PostgresServer) -> None:
    """End all processes of a server at once, as a machine does whose power is cut."""
    os.kill(server.pid, signal.SIGSTOP)  # it can start no other meanwhile
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text("ascii").split()
    for pid in (*map(int, children), server.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop(signal.SIGKILL)
