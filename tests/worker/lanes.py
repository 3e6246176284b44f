"""The app whose queues have settings: one keeps its process busy, the other is quick."""

import os
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


@app.task(queue="fast", retries=0)
def endless(job: SyncJob) -> None:
    while True:
        job.check()
