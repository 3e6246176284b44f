"""The app under measurement: tasks that do nothing, or nothing for long."""

import asyncio
import os

from outlast import Outlast
from outlast.system import CLOCK

app = Outlast()


@app.task(queue="bench")
async def noop(n: int) -> int:
    return n


@app.task(queue="bench")
async def when(n: int) -> int:
    """Return the instant at which the handler started."""
    return CLOCK.now_us()


@app.task(queue="bench", retries=10)
async def long(n: int) -> int:
    """Say who runs it, then run until killed."""
    await asyncio.sleep(600)
    return os.getpid()
