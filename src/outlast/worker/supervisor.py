"""The parent process: runs no user code, heartbeats its children's leases, and sees them die."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from outlast.core.errors import MovedError, UnavailableError
from outlast.core.limits import HEARTBEAT_US, LEASE_US, SECOND
from outlast.ledger.protocol import Ledger
from outlast.system import new_id
from outlast.worker.fence import Fence, Halt

_RESTART_PAUSE_S = (0.0, 0.2, 1.0, 5.0)
_KILL_AFTER_S = 5.0
_LIVED_S = 60.0  # a child that lived for so long is no part of a row of deaths
BAD_USAGE: Final = 2  # exit code: starting again can't help, as long as the code stays as it is
SPEAKER: Final = "OUTLAST_SPEAKER"  # the one of several children that says what is wrong has it
CANT_LOAD: Final = 4  # exit code: the same, and the one that speaks says why
LOOK: Final = signal.SIGUSR1
NOTHING_TO_DO: Final = 3  # exit code: not needed, as long as the code stays as it is


class Process(Protocol):
    """What the supervisor needs of a process; asyncio's own is one."""

    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: signal.Signals, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


# How a process is started, from its command and its environment.
Spawn = Callable[[list[str], dict[str, str]], Awaitable[Process]]


async def _start(command: list[str], environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(*command, env=environment)


@dataclass(slots=True)
class Child:
    """A child to keep running: how to start it, and under which identity it holds leases."""

    command: list[str]
    works: bool  # holds leases
    environment: dict[str, str] = field(default_factory=dict)
    holder: str = ""
    process: Process | None = None
    deaths: int = 0  # in a row
    needed: bool = True
    broken: bool = False  # its code can't be loaded as it is
    worked_once: bool = False

    @property
    def holds(self) -> bool:
        """Whether it may hold leases."""
        return self.works and self.needed


class Supervisor:
    """Keeps children running until it is told to stop.

    `mark` names the environment variable that carries a child's identity; `on_change` is called
    with the identities whenever they change; `after_death` takes a dead child's jobs back. Code
    that can't be loaded ends everything, unless it `awaits_change`: then `restart` tries again.
    `spawn`, `identity`, `beat_us` and `lease_us` are the simulator's to give.
    """

    def __init__(  # noqa: PLR0913 - four of them are the simulator's
        self,
        ledger: Ledger,
        children: list[Child],
        *,
        mark: str,
        on_change: Callable[[list[str]], None],
        after_death: Callable[[str], Awaitable[object]],
        grace_s: float = 30.0,
        awaits_change: bool = False,
        halt: Halt | None = None,
        spawn: Spawn = _start,
        identity: Callable[[], str] = new_id,
        beat_us: int = HEARTBEAT_US,
        lease_us: int = LEASE_US,
    ) -> None:
        self._ledger = ledger
        self._children = children
        self._spawn = spawn
        self._identity = identity
        self._beat_us = beat_us
        self._lease_us = lease_us
        self._mark = mark
        self._on_change = on_change
        self._after_death = after_death
        self._grace_s = grace_s
        self._awaits_change = awaits_change
        self._halt = halt
        self._stopping = asyncio.Event()
        self._renewed = asyncio.Event()
        self._renewed_once: set[str] = set()
        self._forgotten: set[str] = set()  # of these, whose record was gone at the last beat
        self._failed: list[int] = []
        self._moved: MovedError | None = None

    async def run(self) -> int:
        """Run until `stop`; return 0, or the exit code of a child that could not even start.

        Raises MovedError when the ledger has moved away.
        """
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        heart = asyncio.create_task(self._heartbeat())
        try:
            await asyncio.gather(*keepers)
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        if self._moved is not None:
            raise self._moved
        return self._failed[0] if self._failed else 0

    @property
    def holders(self) -> set[str]:
        """Under which identities its children work at present."""
        return {child.holder for child in self._children if child.holds}

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    @property
    def is_broken(self) -> bool:
        """Whether code that can't be loaded is waited for to change."""
        return any(child.broken for child in self._children)

    def stop(self) -> None:
        """Ask every child to finish; a second call kills."""
        if self._stopping.is_set():
            self._signal(signal.SIGKILL)
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def nudge(self) -> None:
        """Let every worker look at the ledger: jobs came back, and no ticket may have said so.

        Only for children that `LOOK` does not kill: it is ignored here, which they inherit.
        """
        for child in self._children:
            if child.holds and child.process is not None and child.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(LOOK)

    def restart(self) -> None:
        """Ask every child to finish and start anew (its code changed)."""
        self._renewed.set()
        self._renewed = asyncio.Event()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(number)

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            # A fresh identity for each start: a restarted worker is nobody's old self.
            child.holder, child.needed, child.broken = self._identity(), True, False
            self._on_change([c.holder for c in self._children if c.holds])
            environment = {
                **os.environ,
                **child.environment,
                self._mark: child.holder,
                "OUTLAST_PARENT": str(os.getpid()),
            }
            born = loop.time()
            child.process = await self._spawn(child.command, environment)
            if self._stopping.is_set():
                child.process.terminate()
            code = await self._ended(child.process)
            if child.works:
                await self._bury(child.holder)
            is_hopeless = code in {BAD_USAGE, CANT_LOAD}
            # Whoever ends first must not keep the one that speaks from saying why.
            has_told = code == BAD_USAGE or SPEAKER in child.environment
            if is_hopeless and has_told and not (self._awaits_change or child.worked_once):
                self._failed.append(BAD_USAGE)
                self.stop()
                return
            child.worked_once |= not is_hopeless
            if code == NOTHING_TO_DO or (is_hopeless and self._awaits_change):
                child.needed, child.broken = False, is_hopeless
                self._on_change(sorted(self.holders))
                await self._stopped_or(self._renewed.wait())
            elif code != 0 and not self._stopping.is_set():
                child.deaths = 0 if loop.time() - born >= _LIVED_S else child.deaths
                pause = _RESTART_PAUSE_S[min(child.deaths, len(_RESTART_PAUSE_S) - 1)]
                child.deaths += 1
                await self._stopped_or(asyncio.sleep(pause))

    async def _stopped_or(self, other: Coroutine[Any, Any, object]) -> None:
        """Return when the other thing has happened, or when everything is to stop."""
        tasks = [asyncio.ensure_future(other), asyncio.ensure_future(self._stopping.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _ended(self, process: Process) -> int:
        waiting = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting.done():
            done, _ = await asyncio.wait([waiting], timeout=self._grace_s + _KILL_AFTER_S)
            if not done:
                process.kill()
        return await waiting

    async def _bury(self, holder: str) -> None:
        """Give a dead child's leases up, so that its jobs run again elsewhere at once."""
        with contextlib.suppress(UnavailableError):
            await self._ledger.extend([holder], 0)
            await self._after_death(holder)

    async def _heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        fence = None if self._halt is None else Fence(self._halt, self._lease_us)
        guard = None if fence is None else asyncio.create_task(fence.run(self._working))
        try:
            while True:
                await asyncio.sleep(self._beat_us / SECOND)
                asked_at, working = loop.time(), self._working()
                try:
                    lost = await self._renew(working)
                except UnavailableError:
                    continue  # tried again at the next beat; the lease outlives two lost ones
                if lost is None:
                    return
                for holder in lost:
                    # It was given up for dead: what it holds runs elsewhere, so it must go.
                    with contextlib.suppress(ProcessLookupError):
                        working[holder].kill()
                if fence is not None:
                    fence.renewed(asked_at, working.keys() - lost)
        finally:
            if guard is not None:
                guard.cancel()

    def _working(self) -> dict[str, Process]:
        """Return the children that may hold leases, by their identities."""
        return {
            c.holder: c.process
            for c in self._children
            if c.holds and c.process is not None and c.process.returncode is None
        }

    async def _renew(self, working: dict[str, Process]) -> set[str] | None:
        """Renew leases; return who has lost theirs, or None when the ledger has moved away."""
        try:
            lost = set(await self._ledger.extend(list(working), self._lease_us))
            known = {doc.key for doc in await self._ledger.docs("worker")} if lost else set()
        except MovedError as error:
            if error.facts["moved"]:
                self._moved = error
                self.stop()
                return None
            return set()  # a move begins when nothing runs here, and may be taken back
        # One that still starts, or has just left, has no record: it holds nothing. A record that
        # stays away was in what a failover lost: what is claimed under it would be taken at once.
        forgotten = (lost - known) & self._renewed_once
        gone, self._forgotten = forgotten & self._forgotten, forgotten
        self._renewed_once = (self._renewed_once | (working.keys() - lost)) & working.keys()
        return lost & known | gone
