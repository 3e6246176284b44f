"""The app whose queues have settings: one keeps its process busy, the other is quick."""

import os
import signal
import threading
from pathlib import Path

from outlast import Outlast, SyncJob

app = Outlast()


@app.task(queue="slow", retries=0)
async def hog(folder: str) -> None:
    """Keep the whole process busy, its event loop too, until a file named go is there."""
    (Path(folder) / f"hog-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():
        pass


@app.task(queue="fast")
async def quick() -> int:
    return os.getpid()


@app.task(queue="other")
async def other() -> int:
    return os.getpid()


@app.task(queue="heavy", retries=0)
def glutton() -> int:
    held = [bytearray(1 << 20) for _ in range(400)]
    signal.pause()  # a watch needs a moment to see it
    return len(held)


@app.task(queue="heavy")
def beside(folder: str) -> int:
    """Say which process this is, once a file named go is there."""
    (Path(folder) / "beside").touch()
    while not (Path(folder) / "go").exists():
        threading.Event().wait(0.02)
    return os.getpid()


@app.task(queue="heavy", isolation="none")
async def at_home() -> int:
    return os.getpid()


@app.task(queue="fast", retries=0)
def endless(job: SyncJob) -> None:
    while True:
        job.check()
