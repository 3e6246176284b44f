"""Fleets of real processes at a gate, and the story of a run for the checker."""

from contextlib import asynccontextmanager, suppress

from outlast.core.job import Filter, Page
from outlast.testing.checker import Asked, Story, read_marks, violations
from tests.listening import listening

SETTLES_S = 60


@asynccontextmanager
async def gate(decide):
    """Open a gate: `decide(pid, token, what)` runs when a process stops there, which then goes on.

    It may kill the process, or wait: nobody goes on before it returns.
    """

    async def serve(reader, writer):
        with suppress(ConnectionError):  # it was killed where it stood
            while line := await reader.readline():
                _, token, pid, what = line.decode().rstrip("\n").split(" ", 3)
                await decide(int(pid), int(token), what)
                writer.write(b"\n")
                await writer.drain()

    async with listening(serve) as port:
        yield port


async def story(ledger, folder, asked, effects=None):
    """Read all that is known once a run is quiet."""
    rows = {row.id: row for row in await ledger.find(Filter(), Page(limit=10_000))}
    histories = {}
    for job in rows:
        events = histories[job] = []
        while page := await ledger.history(job, after=events[-1].seq if events else 0):
            events += page
    witness = folder / "witness"
    marks = read_marks(witness.read_text()) if witness.exists() else []
    return Story(asked, rows, histories, marks, effects or {})


async def assert_kept(ledger, folder, handles, effects=None):
    """Nothing that was promised for these jobs, and no others, was broken; return the story."""
    asked = [Asked("accepted", handle.id) for handle in handles]
    told = await story(ledger, folder, asked, effects)
    assert violations(told) == []
    return told
