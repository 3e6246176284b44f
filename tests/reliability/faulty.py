"""The app whose processes are killed, frozen and flooded in these tests.

Each task keeps a witness, which knows nothing of the ledger: a file to which every effect is
appended with the job's ID and token. Before and after each effect it stops at the test's gate, so
that a fault comes exactly where the test wants it, and nobody has to sleep.
"""

import asyncio
import os
import socket

from outlast import Job, Outlast, SyncJob

app = Outlast()


def witness(folder: str, job: Job | SyncJob, what: str) -> None:
    """Append a line in one write, which a kill can't tear apart."""
    file = os.open(f"{folder}/witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, f"{job.id} {job.token} {what}\n".encode())
    finally:
        os.close(file)


def at_gate(port: int, job: Job | SyncJob, what: str) -> None:
    """Stop until the test lets this process go on."""
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(f"{job.id} {job.token} {os.getpid()} {what}\n".encode())
        gate.recv(1)


@app.task
async def walk(job: Job, folder: str, port: int, items: int, every: int) -> int:
    """Do an effect for each item of a loop that goes on where it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    witness(folder, job, "start")
    async for n in job.resume(range(items), every=every):
        for when in ("before", "after"):
            writer.write(f"{job.id} {job.token} {os.getpid()} {when} {n}\n".encode())
            await reader.read(1)
            if when == "before":
                witness(folder, job, str(n))
    witness(folder, job, "end")
    writer.close()
    return items


@app.task
async def once(job: Job, folder: str, port: int) -> str:
    """Stop before and after one effect that is no step."""
    witness(folder, job, "start")
    await asyncio.to_thread(at_gate, port, job, "before")
    witness(folder, job, "effect")
    await asyncio.to_thread(at_gate, port, job, "after")
    witness(folder, job, "end")
    return f"by {job.token}"


@app.task
async def stubborn(job: Job, folder: str, port: int) -> str:
    """Hold the interpreter's event loop for longer than a heartbeat, as bad code does."""
    witness(folder, job, "start")
    at_gate(port, job, "blocked")
    witness(folder, job, "end")
    return f"by {job.token}"


@app.task(grace="30s", retries=0)
async def deaf(job: Job, folder: str, port: int) -> str:
    """Ignore every wish to stop."""
    witness(folder, job, "start")
    waiting = asyncio.ensure_future(asyncio.to_thread(at_gate, port, job, "deaf"))
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            continue
    return "done"


@app.task
async def plain(n: int) -> int:
    return n


@app.task
def noisy(lines: int, length: int) -> int:
    """Print far more than is kept."""
    text = "x" * length
    for _ in range(lines):
        print(text)
    return lines


@app.task(retries=0)
async def huge(megabytes: int) -> str:
    return "x" * (megabytes << 20)
