"""Puts the processes together: a supervisor with upkeep, its workers, and the API."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from outlast.blobs import open_blobs
from outlast.broker.relayed import relayed
from outlast.broker.topic import open_topic, read_plan
from outlast.cli.lookout import Lookout
from outlast.core.errors import InvalidInputError, OutlastError
from outlast.core.retention import Retention
from outlast.ledger import Ledger, open_ledger, shown, watch_sessions
from outlast.ledger.sqlite.bell import meeting_place, private_folder
from outlast.sdk.settings import Settings, placed
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.upkeep.deathwatch import MARK, DeathWatch, kill_marked, signal_marked
from outlast.upkeep.forget import Forgetting
from outlast.upkeep.loop import Upkeep
from outlast.upkeep.relay import Relay
from outlast.upkeep.stream import Stream
from outlast.worker.fence import Halt
from outlast.worker.supervisor import LOOK, SPEAKER, Child, Supervisor

_RELOAD_EVERY_S = 0.5


def run(
    reference: str,
    *,
    settings: Settings,
    api: bool,
    worker: bool,
    reload: bool = False,
    ready: Callable[[dict[str, object]], None],
) -> int:
    """Run the chosen processes until Ctrl-C or SIGTERM; return the exit code."""
    if settings.ledger == "memory://":
        raise InvalidInputError(
            "ledger memory:// can't be shared between processes",
            hint="use sqlite:///path or postgresql://…",
        )
    if any(url.startswith("memory:") for url in settings.routes.urls):
        raise InvalidInputError(
            "broker memory:// can't be shared between processes",
            hint="leave it out, or name one that is a server",
        )
    settings = replace(
        settings,
        port=settings.port or _free_port(settings.host),
        ledger=placed(settings.ledger),
        blobs=placed(settings.blobs),
    )
    return asyncio.run(_run(reference, settings, ready, api=api, worker=worker, reload=reload))


async def _run(
    reference: str,
    settings: Settings,
    ready: Callable[[dict[str, object]], None],
    *,
    api: bool,
    worker: bool,
    reload: bool,
) -> int:
    children = _children(reference, settings, api=api, worker=worker, reload=reload)
    routes = settings.routes
    ledger = relayed(open_ledger(settings.ledger), routes)  # due and rescued jobs run again
    await ledger.migrate()

    def nudge() -> None:
        if routes.urls:  # without a broker, the bell tells them; a ticket may take its time
            supervisor.nudge()

    signal.signal(LOOK, signal.SIG_IGN)  # which children inherit, until they can be nudged
    upkeep = Upkeep(ledger, clock=CLOCK, entropy=ENTROPY, on_rescue=nudge)
    watch = DeathWatch(_meeting_place(settings.ledger), new_id(), ledger)
    loops = [upkeep.run, watch.run, *_loops(ledger, settings)]
    watch.hold()

    sessions = watch_sessions(settings.ledger, new_id(), lambda dead: ledger.extend(dead, 0))

    def list_holders(holders: list[str]) -> None:
        watch.list_holders(holders)
        if sessions is not None:
            sessions.list_holders(holders)

    async def bury(holder: str) -> None:
        kill_marked([holder])  # what it had started must not act for a job that runs elsewhere
        await upkeep.reap()

    supervisor = Supervisor(
        ledger,
        children,
        mark=MARK,
        on_change=list_holders,
        after_death=bury,
        grace_s=settings.grace,
        awaits_change=reload,
        # With a file as ledger, whoever can't reach it is no more alone than the others.
        halt=None if sessions is None else _halting(),
    )
    loop = asyncio.get_running_loop()
    lookout = Lookout(ledger, supervisor, settings, api=api, worker=worker)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lookout.stop)
    background = [asyncio.create_task(_for_ever(work)) for work in loops]
    background.append(asyncio.create_task(lookout.run(ready)))
    if sessions is not None:
        background.append(asyncio.create_task(sessions.run()))
    if reload:
        background.append(asyncio.create_task(_reload(reference, supervisor)))
    try:
        await lookout.open()
        return await supervisor.run()
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await lookout.close()
        watch.let_go()
        if sessions is not None:
            await sessions.let_go()
        await ledger.close()


def _loops(ledger: Ledger, settings: Settings) -> Iterator[Callable[[], Awaitable[None]]]:
    """Yield the loops of upkeep that the settings say something about."""
    kept = Retention.read(settings.retention)
    yield Forgetting(ledger, open_blobs(settings.blobs), kept, clock=CLOCK).run
    if settings.routes.urls:
        yield Relay(ledger, settings.routes, new_id(), entropy=ENTROPY).run
    if settings.events:
        plan = read_plan(settings.events)
        yield Stream(ledger, open_topic(plan), plan, new_id(), clock=CLOCK).run


def _meeting_place(ledger: str) -> Path:
    path = ledger.removeprefix("sqlite:///")
    return meeting_place(path) if path != ledger else private_folder(shown(ledger))


def _halting() -> Halt:
    """Return what holds workers still, or lets them go on, and says so once."""
    stand_still = False

    def halt(holders: Collection[str], number: signal.Signals) -> None:
        nonlocal stand_still
        signal_marked(holders, number)
        if holders and stand_still != (number is signal.SIGSTOP):
            stand_still = not stand_still
            what = "stand still: the ledger can't be reached" if stand_still else "go on"
            with suppress(OSError):
                print(f"outlast: {len(holders)} worker processes {what}", file=sys.stderr)

    return halt


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """Keep a loop alive: a fault in it is told, and it starts again."""
    while True:
        try:
            await work()
        except OutlastError as error:
            with suppress(OSError):  # what can't be told, on a full disk, must still be done
                print(f"outlast: {error}", file=sys.stderr)
            await asyncio.sleep(1)


def _children(
    reference: str, settings: Settings, *, api: bool, worker: bool, reload: bool
) -> list[Child]:
    def child(kind: str, settings: Settings, *part: object) -> Child:
        more = [json.dumps(part)] if part else []
        command = [sys.executable, "-m", "outlast.cli.child", kind, reference]
        # Everybody on the machine can read arguments; a password goes by the environment.
        routes = settings.routes
        bare = replace(settings, ledger=shown(settings.ledger), events="")
        public = bare.routed(routes.public())
        return Child(
            [*command, json.dumps(asdict(public)), *more],
            works=kind == "worker",
            environment={
                "OUTLAST_LEDGER": settings.ledger,
                "OUTLAST_BROKER": routes.default,
                "OUTLAST_QUEUE_BROKERS": json.dumps(dict(routes.own)),
            },
        )

    crew = [child("worker", *one) for one in _crew(settings)] if worker else []
    children = [*crew, *([child("api", settings)] if api else [])]
    # They load the same code: one of them says what is wrong with it.
    children[0].environment[SPEAKER] = "save the file to try again" if reload else ""
    return children


def _crew(settings: Settings) -> list[tuple[Settings, tuple[str, ...], tuple[int, int]]]:
    """Divide the work: a queue with settings has its own processes, the others share the rest."""
    wanted = settings.queues or tuple(settings.queue_settings)
    elsewhere = settings.except_queues
    named = tuple(queue for queue in wanted if queue in settings.queue_settings)
    own = tuple(queue for queue in named if queue not in elsewhere)
    crew: list[tuple[Settings, tuple[str, ...], tuple[int, int]]] = []
    for queue in own:
        processes = settings.rules(queue).processes
        alone = replace(settings, queues=(queue,))
        crew += [(alone, (), (n, processes)) for n in range(processes)]
    others = tuple(dict.fromkeys((*own, *elsewhere)))
    rest = tuple(queue for queue in settings.queues if queue not in others)
    if rest or not settings.queues:
        crew += [(replace(settings, queues=rest), others, (0, 1))] * settings.processes
    if not crew:
        raise InvalidInputError(
            f"queues: expected one to work on, got {', '.join(settings.queues)} except all of them"
        )
    return crew


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def _reload(reference: str, supervisor: Supervisor) -> None:
    """Restart the children when a Python file beside the app changes."""
    path = Path(reference.partition(":")[0])
    folder = path.parent if path.suffix == ".py" else Path.cwd()

    def newest() -> float:
        return max((f.stat().st_mtime for f in folder.rglob("*.py") if f.is_file()), default=0.0)

    seen = newest()
    while True:
        await asyncio.sleep(_RELOAD_EVERY_S)
        if (now := newest()) != seen:
            seen = now
            supervisor.restart()
