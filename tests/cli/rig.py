"""What the tests of the commands share: a ledger to look into, a command in its own process."""

import asyncio
import subprocess
import sys
from pathlib import Path

from outlast.ledger import open_ledger


def using(url, work):
    """Do something with an open ledger."""

    async def session():
        ledger = open_ledger(url)
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return asyncio.run(session())


def spawn(*arguments):
    """Start a command in a process of its own, whose Ctrl-C is not ignored."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; from outlast.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd(),
    )  # fmt: skip
