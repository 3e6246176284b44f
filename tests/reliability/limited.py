"""The app whose jobs say when they run: each appends one line at its start and one at its end."""

import asyncio
import os

from outlast import Job, Outlast
from outlast.system import CLOCK

app = Outlast()


def say(file: str, key: str, job: Job, what: str) -> None:
    """Append in one write, which a kill can't tear apart."""
    line = f"{CLOCK.elapsed_us()} {key} {job.id} {job.token} {os.getpid()} {what}\n"
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(out, line.encode())
    finally:
        os.close(out)


@app.task(retries=20)
async def brief(job: Job, file: str, key: str) -> None:
    say(file, key, job, "start")
    try:
        async with asyncio.timeout(0.004):
            await asyncio.Event().wait()
    except TimeoutError:
        pass
    say(file, key, job, "end")
