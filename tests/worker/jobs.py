"""The app whose workers are killed in the tests."""

import asyncio
import os
from pathlib import Path

from outlast import GiveUp, Job, Outlast, Retry, SyncJob

app = Outlast()


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
async def stepped(job: Job, folder: str, steps: int) -> list[int]:
    """Leave a mark for each step that ran; the last one waits for a file named go."""
    done = []
    for n in range(steps):
        done.append(await job.step(f"step {n}", _mark, folder, n, job.attempt))
        job.progress(n + 1, steps, "stepping")
    while not (Path(folder) / "go").exists():
        await app.ledger.bell.wait(0.05)
    return done


def _mark(folder: str, n: int, attempt: int) -> int:
    with (Path(folder) / "marks").open("a") as file:
        file.write(f"{n} in attempt {attempt} by {os.getpid()}\n")
    return n


@app.task(retries=1)
def hopeless() -> None:
    raise GiveUp("no later attempt can succeed")


@app.task
def later(job: SyncJob) -> int:
    if job.attempt == 1:
        raise Retry(after=0)
    return job.attempt


@app.task(retries=0, timeout=0.05)
async def endless() -> None:
    await asyncio.Event().wait()


@app.task
async def patient() -> None:
    await asyncio.Event().wait()


@app.task
def filed(job: SyncJob) -> str:
    job.save("a.txt", b"bytes")
    job.log("saved", size=5)
    return job.load("a.txt").decode()


@app.task(isolation="process", retries=0)
def suicidal(signal: int) -> None:
    os.kill(os.getpid(), signal)


@app.task(isolation="process")
def apart(job: SyncJob) -> int:
    job.step("one", os.getpid)
    return os.getpid()


@app.task
async def spawning(job: Job, folder: str) -> int:
    """Start a process that outlives its parent, then wait for a file named go."""
    process = await asyncio.create_subprocess_exec("sleep", "300", start_new_session=True)
    await job.step("spawned", _note, folder, process.pid, job.attempt)
    while not (Path(folder) / "go").exists():
        await app.ledger.bell.wait(0.05)
    process.kill()
    await process.wait()
    return process.pid


def _note(folder: str, pid: int, attempt: int) -> int:
    (Path(folder) / f"spawned-{attempt}").write_text(str(pid))
    return pid
