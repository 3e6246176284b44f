"""The app whose workers are killed in the tests."""

import asyncio
import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from outlast import Backoff, GiveUp, Job, Outlast, Retry, SyncJob
from outlast.core.signals import JobCancelled

AT_ONCE = Backoff.constant(0)

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


@app.task
async def grouped(job: Job, word: str) -> int:
    """Say something in a task of a group."""

    async def say() -> None:
        if job.attempt == 1:
            raise WORDS[word]

    async with asyncio.TaskGroup() as group:
        group.create_task(say())
    return job.attempt


WORDS: dict[str, BaseException] = {
    "give up": GiveUp("no later attempt can succeed"),
    "retry": Retry(after=0),
    "cancel": JobCancelled(),
}


grouped_apart = app.task(name="grouped_apart", isolation="process")(grouped.task.fn)


@app.task
def take(number: float) -> float:
    return number


@app.task
def unwritable(what: str) -> Any:
    return {"object": object(), "NaN": [1.0, float("nan")], "null": [None, 1.5]}[what]


@app.task
async def unwritable_step(job: Job) -> Any:
    return await job.step("measure", lambda: float("inf"))


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
def suicidal(number: int) -> None:
    os.kill(os.getpid(), number)


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


@app.task(isolation="process", retries=9, backoff=AT_ONCE, max_processes=64, max_files=64)
def deadly(how: str) -> str:
    """Die in one of the ways that end an interpreter."""
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "files":
            held = [open("/dev/null") for _ in range(10_000)]  # noqa: PTH123, SIM115
            return str(len(held))
        case "threads":
            started = threading.Event()
            for _ in range(200):
                threading.Thread(target=started.wait, daemon=True).start()
            started.wait(10)  # a watch needs a moment to see them
        case "forks":
            for _ in range(200):
                if os.fork() == 0:
                    signal.pause()
            return "no limit held"
    return "alive"


@app.task(isolation="process", retries=9, backoff=AT_ONCE, memory="96MB")
def greedy() -> int:
    held = [bytearray(1 << 20) for _ in range(400)]
    signal.pause()  # a watch needs a moment to see it
    return len(held)


@app.task(isolation="process", retries=0, cpu_time=0.5)
def busy() -> None:
    while True:
        pass


@app.task(isolation="process")
def bystander(job: SyncJob, folder: str) -> dict[str, Any]:
    """Say what a job sees, once a file named go is there."""
    job.progress(0, message="runs")
    while not (Path(folder) / "go").exists():
        threading.Event().wait(0.02)
    status = Path("/proc/self/status").read_text()
    return {
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
        "open": sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "privileges": [line.split()[1] for line in status.splitlines() if "NoNewPrivs" in line],
    }


@app.task(isolation="process", retries=0, env=("LET_THROUGH",))
def needy(name: str) -> str:
    return os.environ[name]


@app.task(isolation="process", retries=0)
def forking(folder: str, how: str) -> str:
    """Leave a process of another session behind, then end as told."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (Path(folder) / "left").write_text(str(os.getpid()))
            os.environ.clear()
            signal.pause()
        os._exit(0)
    os.wait()
    while not (Path(folder) / "left").exists():
        threading.Event().wait(0.01)
    (Path(folder) / "cwd").write_text(str(Path.cwd()))
    if how == "waits":
        (Path(folder) / "waits").touch()
        signal.pause()
    if how == "kills its warden":
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    if how == "dies":
        os.abort()
    return "done"


descriptors = app.command(
    "descriptors", [sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"]
)


@app.task(isolation="process", retries=0, timeout=2, grace=0.2)
async def deaf(folder: str) -> None:
    """Ignore SIGTERM, as does what it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn = ["/bin/sh", "-c", "trap '' TERM; sleep 300 & wait"]
    child = await asyncio.create_subprocess_exec(*stubborn)
    (Path(folder) / "pids").write_text(f"{os.getpid()} {child.pid}")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class Panic(BaseException):
    """As extension modules raise, which are no Exception."""


class Enrolment(Exception):
    course = described = response = "algebra"  # names that mean something to Outlast as well


class Teapot(Exception):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.status = ["I'm a teapot"]


RUDE: dict[str, BaseException] = {
    "text": Untellable(),
    "panic": Panic("index out of bounds"),
    "panics": BaseExceptionGroup("several", [Panic("one")]),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
    "closed": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "names": Enrolment("is full"),
    "status": Teapot("short and stout"),
}


@app.task(retries=1, backoff=AT_ONCE)
async def rude(how: str) -> None:
    raise RUDE[how]


@app.task(retries=1, backoff=AT_ONCE)
def rude_in_a_thread(how: str) -> None:
    raise RUDE[how]


@app.task(retries=1, backoff=AT_ONCE, isolation="process")
async def rude_alone(how: str) -> None:
    raise RUDE[how]


@app.task(retries=1, backoff=Backoff.by(lambda attempt: [][attempt]))
async def rude_curve() -> None:
    raise ValueError("the first error")
