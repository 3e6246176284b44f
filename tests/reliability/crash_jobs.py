"""A job whose life has everything that is written down, and a witness that no ledger can change."""

import logging
import os
import sys
from pathlib import Path

from outlast import Job, Outlast
from outlast.core.retry import Backoff

app = Outlast()
told = []  # who else is to hear of each effect
REPORT = b"what the job found\n" * 200


@app.task(retries=3, backoff=Backoff(base_us=0))
async def life(job: Job, witness: str) -> dict[str, int]:
    """Two steps with an effect each, a cursor, progress, a file; the first attempt fails midway."""
    one = await job.step("one", effect, witness, "one", job.token)
    await job.remember("place", {"after": "one"})
    job.progress(1, 2, "halfway")
    job.log("halfway")
    while Path(witness).with_name("hold").exists():  # until somebody has killed this worker
        await app.ledger.bell.wait(0.02)
    if job.attempt == 1:
        raise ConnectionError("the first attempt meets a broken connection")
    two = await job.step("two", effect, witness, "two", job.token)
    await job.save("report.txt", REPORT)
    place = await job.recall("place")
    assert place == {"after": "one"}, place
    return {"one": one, "two": two}


@app.task
async def short() -> None:
    """Do nothing: a job to be submitted, cancelled and claimed beside the long one."""


@app.task(retries=0)
def chatty() -> None:
    """Say something on every way there is."""
    logging.getLogger("chatty").error("an error that is told on the terminal, too")
    for stream in (sys.stdout, sys.stderr):
        print("a line", file=stream, flush=True)


def effect(witness: str, name: str, token: int) -> int:
    """Act on the world: append a line, in one write, that stays when this process is killed."""
    handle = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{name} {token}\n".encode())
    finally:
        os.close(handle)
    for tell in told:
        tell(f"effect {name} {token}")
    return token


def seen(witness: str) -> list[tuple[str, int]]:
    """Return the effects that were seen: which step, under which token."""
    path = Path(witness)
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(name, int(token)) for name, token in (line.split() for line in lines)]
