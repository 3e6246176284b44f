"""What the simulated users do: tasks of every kind, submits, cancels and redrives."""
# ruff: noqa: D103 - a task's name says what it does

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from outlast.core.errors import ConflictError, UnavailableError
from outlast.core.identity import uuid7
from outlast.core.retry import Backoff
from outlast.core.signals import GiveUp, JobCancelled, Retry
from outlast.sdk.app import Outlast
from outlast.sdk.context import Job
from outlast.sdk.handle import Handle
from outlast.sdk.submission import Options, new_job
from outlast.testing.sim.referee import Referee

WITNESS: Final[ContextVar[Referee]] = ContextVar("witness")
_SOON: Final = Backoff.exponential("0.5s", cap="3s")

app: Final = Outlast(ledger="memory://")


def _begin(job: Job) -> int:
    """Let the referee know that this attempt's code runs."""
    WITNESS.get().began(job.id, job.token)
    return job.token


@app.task(backoff=_SOON)
async def plain(job: Job, seconds: float) -> int:
    token = _begin(job)
    await asyncio.sleep(seconds)
    job.log("half", token=token)
    job.progress(1, 2)
    await asyncio.sleep(seconds)
    return token


@app.task(backoff=_SOON)
async def flaky(job: Job, failures: int) -> int:
    token = _begin(job)
    await asyncio.sleep(0.3)
    if job.attempt <= failures:
        raise RuntimeError(f"not yet, attempt {job.attempt}")
    return token


@app.task(retries=2, backoff=_SOON, on_error={KeyError: "give up"})
async def hopeless(job: Job, how: int) -> int:
    _begin(job)
    await asyncio.sleep(0.2)
    raise [GiveUp("never"), KeyError("gone"), SystemExit(3), JobCancelled()][how % 4]


@app.task(backoff=_SOON)
async def snoozing(job: Job, times: int) -> int:
    token = _begin(job)
    if token <= times:
        raise Retry("not ready", after=0.8, counts=False)
    return token


async def _work(token: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return token


@app.task(backoff=_SOON, retries=5)
async def stepping(job: Job, seconds: float) -> int:
    token = _begin(job)
    for name in ("first", "second", "third"):
        await job.step(name, _work, token, seconds)
    return token


@app.task(backoff=_SOON, retries=5)
async def resuming(job: Job, items: int, every: int, seconds: float) -> int:
    token = _begin(job)
    async for item in job.resume(range(items), every=every):
        WITNESS.get().item(job.id, token, item, every)
        await asyncio.sleep(seconds)
    return token


@app.task(backoff=_SOON, retries=1, timeout="3s")
async def hanging(job: Job) -> int:
    _begin(job)
    await asyncio.Event().wait()
    return 0


@app.task(backoff=_SOON, retries=1, timeout="2s", grace="1s")
async def stubborn(job: Job) -> int:
    """Ignore every wish to stop: the pool must give it up, and be replaced."""
    _begin(job)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@app.task(backoff=_SOON, retries=1, stall_after="2s")
async def stalling(job: Job) -> int:
    token = _begin(job)
    job.progress(token, 100)
    await asyncio.sleep(1.5)
    job.progress(token + 1, 100)
    await asyncio.sleep(60)
    return token


@app.task(backoff=_SOON, timeout="6s")
async def clumsy(job: Job, seconds: float) -> int:
    """Fail while cleaning up, when asked to stop."""
    token = _begin(job)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        raise RuntimeError("the cleanup failed") from None
    return token


@app.task(backoff=_SOON, grace="3s")
async def shielded(job: Job, seconds: float) -> int:
    token = _begin(job)
    async with job.shield():
        await asyncio.sleep(seconds)
        await job.step("paid", _work, token, 0.1)
    await asyncio.sleep(seconds)
    return token


@app.task(backoff=_SOON, retries=9, deadline="12s")
async def hurried(job: Job, seconds: float) -> int:
    token = _begin(job)
    await asyncio.sleep(seconds)
    if job.attempt < 3:  # noqa: PLR2004 - the first two attempts fail
        raise OSError("again")
    return token


def _task(die: random.Random) -> tuple[Any, dict[str, Any]]:
    """Draw a task and arguments for it."""
    seconds = die.choice([0.0, 0.2, 0.7, 2.0])
    choices: list[tuple[Any, dict[str, Any]]] = [
        (plain, {"seconds": seconds}),
        (plain, {"seconds": 4.0}),
        (flaky, {"failures": die.randrange(6)}),
        (hopeless, {"how": die.randrange(4)}),
        (snoozing, {"times": die.randrange(4)}),
        (stepping, {"seconds": seconds}),
        (resuming, {"items": 12, "every": die.randrange(1, 5), "seconds": seconds / 4}),
        (hanging, {}),
        (stubborn, {}),
        (stalling, {}),
        (clumsy, {"seconds": 4.0}),
        (shielded, {"seconds": seconds}),
        (hurried, {"seconds": seconds * 2}),
    ]
    return die.choice(choices)


class Customer:
    """Submits one job at its time, and may repeat that, cancel it, and redrive it."""

    def __init__(
        self, app: Outlast, referee: Referee, die: random.Random, now_us: Callable[[], int]
    ) -> None:
        self._app = app
        self._referee = referee
        self._die = die
        self._now_us = now_us

    async def live(self, switches: frozenset[str], within_s: float) -> None:
        """Do it all within a time."""
        die = self._die
        task, arguments = _task(die)
        options = Options(
            key=die.choice([None, f"key-{die.getrandbits(48):x}"]),
            priority=die.choice([None, None, 5, -5]),
            delay=die.choice([None, None, None, 1, 5]),
            expires_in=die.choice([None, None, None, None, 10]),
        )
        cancels_after, redrives_after = die.uniform(0, 5), die.uniform(2, 6)
        twice, cancels, redrives = die.random() < 0.5, die.random() < 0.5, die.random() < 0.5  # noqa: PLR2004
        await asyncio.sleep(die.uniform(0, within_s / 2))
        if "repeats" in switches and options.key is not None and twice:
            first, _ = await asyncio.gather(*(self._submit(task, arguments, options) for _ in "12"))
        else:
            first = await self._submit(task, arguments, options)
        if first is None:
            return
        if "cancels" in switches and cancels:
            await asyncio.sleep(cancels_after)
            await self._cancel(first)
        if "redrives" in switches and redrives:
            await asyncio.sleep(redrives_after)
            await self._redrive(first)

    async def _submit(
        self, task: Any, arguments: dict[str, Any], options: Options
    ) -> Handle | None:
        """Ask until there is an answer, with a key; without one, no answer means unknown."""
        while True:
            job = new_job(task.task, arguments, options)
            job.id = uuid7(self._now_us(), self._die.getrandbits(62))
            try:
                handle = await self._app.submit(job)
            except UnavailableError:
                if options.key is None:
                    return None
                await asyncio.sleep(0.5)
                continue
            self._referee.accepted(handle.id, options.key)
            return handle

    async def _cancel(self, handle: Handle) -> None:
        run = self._referee.run_of(handle.id)
        timeout = self._die.choice([None, None, 60.0])
        answer = await _until_told(lambda: handle.cancel(timeout=timeout))
        self._referee.answered(handle.id, answer, run)

    async def _redrive(self, handle: Handle) -> None:
        try:
            await _until_told(handle.retry)
        except ConflictError:
            return


async def _until_told(ask: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await ask()
        except UnavailableError:
            await asyncio.sleep(0.5)
