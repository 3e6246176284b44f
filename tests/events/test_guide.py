"""The reader that the guide shows reads what is published, and drops what comes twice."""

import asyncio

import pytest

from tests.events.rig import PATIENCE_S, live, running, told_by
from tests.pages import ROOT, blocks


class EnoughError(Exception):
    """The last event was handled."""


async def test_the_reader_of_the_guide_handles_each_event_once(ledger, kafka, place):
    page = (ROOT / "docs/events.md").read_text("utf-8")
    guide = {}
    exec(next(b.text for b in blocks("docs/events.md", page) if b.language == "python"), guide)
    handled = []
    await live(ledger, jobs=20)
    for _ in range(2):  # the second time, all is published once more, and one job behind it
        everything = await told_by(ledger)
        async with running(place.stream(ledger)):
            await place.read(everything)
        await ledger.put("stream", place.name, None)
        await live(ledger)

    async def handle(event):
        handled.append(event["id"])
        if len(handled) == len(everything):
            raise EnoughError

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(EnoughError):
            await guide["follow"](kafka.address, place.name, "g", handle)

    assert sorted(handled) == sorted(everything)
