"""Submits jobs for ever and says each ID once the ledger has acknowledged it.

usage: writer.py FILE
"""

import asyncio
import sys

from outlast.core.job import NewJob
from outlast.ledger.sqlite import SqliteLedger
from outlast.system import new_id


async def main() -> None:
    ledger = SqliteLedger(sys.argv[1])
    await ledger.migrate()
    while True:
        (made,) = await ledger.insert([NewJob(id=new_id(), task="t")])
        print(made.id, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
