"""A private PgBouncer before a private PostgreSQL: it lends a session for each transaction."""

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from outlast.testing.postgres import NOBODY
from outlast.testing.servers import end_with_parent, free_port

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SETTINGS = """
[databases]
* = host={there.hostname} port={there.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 4
"""


def _folder(there, port, user):
    """Make its settings where whom it runs as may read them."""
    folder = Path(tempfile.mkdtemp(prefix="outlast-pgbouncer-"))
    (folder / "settings").write_text(SETTINGS.format(there=there, port=port, folder=folder))
    (folder / "users").write_text(f'"{there.username}" "{there.password}"\n')
    if user is not None:
        for place in (folder, *folder.iterdir()):
            os.chown(place, user, user)
    return folder


@asynccontextmanager
async def pgbouncer(url):
    """Yield the URL of the same database behind it."""
    there, port = urlsplit(url), free_port()
    user = NOBODY if os.geteuid() == 0 else None  # it refuses to be root
    folder = _folder(there, port, user)
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "-q", folder / "settings", cwd="/", user=user, group=user,
        extra_groups=None if user is None else (), start_new_session=True,
        stderr=asyncio.subprocess.DEVNULL, preexec_fn=end_with_parent(signal.SIGINT),
    )  # fmt: skip
    try:
        yield url.replace(f":{there.port}/", f":{port}/")
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder)
