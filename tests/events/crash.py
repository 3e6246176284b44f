"""A publisher that stops for ever once Kafka has acknowledged, before it says so: to be killed.

python -m tests.events.crash LEDGER EVENTS
"""

import asyncio
import sys

from outlast.broker.topic import open_topic, read_plan
from outlast.ledger import open_ledger
from tests.events.rig import stream_of


class StandsStill:
    """The real topic, which says when it has published and then says nothing more."""

    def __init__(self, topic):
        self._topic = topic

    async def open(self):
        await self._topic.open()

    async def publish(self, messages, within_s):
        await self._topic.publish(messages, within_s)
        print(len(messages), flush=True)
        await asyncio.Event().wait()

    async def close(self):
        await self._topic.close()


async def main(url, events):
    ledger = open_ledger(url)
    plan = read_plan(events)
    await stream_of(ledger, StandsStill(open_topic(plan)), plan).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
