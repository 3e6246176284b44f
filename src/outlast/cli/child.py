"""The child processes, which run user code: `… child worker|api|job APP SETTINGS [PART]`."""

import asyncio
import faulthandler
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, NamedTuple

from outlast.blobs import open_blobs
from outlast.broker.routes import Routes, public_url
from outlast.core.errors import InvalidInputError, OutlastError
from outlast.core.instant import to_rfc3339
from outlast.core.limits import LEASE_US
from outlast.ledger import shown
from outlast.sdk import load
from outlast.sdk.app import Outlast
from outlast.sdk.capture import capture
from outlast.sdk.limits import declare
from outlast.sdk.load import load_app
from outlast.sdk.settings import Settings, placed
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.deathwatch import MARK
from outlast.worker.cage import Cages, sweep
from outlast.worker.cell import NoTask, serve
from outlast.worker.config import PoolConfig
from outlast.worker.effects import Runnable
from outlast.worker.executors import Executors
from outlast.worker.intake import intake_of
from outlast.worker.lifeline import die_with_parent
from outlast.worker.pool import Pool
from outlast.worker.supervisor import CANT_LOAD, LOOK, NOTHING_TO_DO, SPEAKER


class Part(NamedTuple):
    """Which part of a node's work a process has: what others do, and how it shares the rest."""

    others: tuple[str, ...] = ()  # queues that have processes of their own
    share: tuple[int, int] = (0, 1)  # which of how many that divide a queue's worker_count


async def _work(app: Outlast, settings: Settings, holder: str, own: list[str], part: Part) -> None:
    queues = settings.queues or tuple(
        sorted({task.queue for task in app.tasks.values()} - set(part.others))
    )
    if part.others and not queues:
        raise SystemExit(NOTHING_TO_DO)  # every queue of the app has processes of its own
    await app.open()
    pool_config = PoolConfig(
        holder,
        queues,
        settings.concurrency,
        settings.grace,
        {queue: settings.rules(queue) for queue in queues},
        part.share,
    )
    presence = {
        "id": holder,
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "queues": queues,
        "concurrency": pool_config.slots,
        "started_at": to_rfc3339(CLOCK.now_us()),
        "version": version("outlast"),
        "schedules": list(app.schedules.declared),
    }
    await app.schedules.sync()
    await declare(app)
    await app.ledger.put("worker", holder, json.dumps(presence), ttl_us=LEASE_US)
    sweep()
    cages = Cages({MARK: holder}, settings.cgroup)
    pool = Pool(
        app.ledger,
        app.blobs,
        # The process of an isolated job starts as this one did.
        Executors(app.tasks, cages, [sys.executable, "-m", "outlast.cli.child", "job", *own]),
        pool_config,
        clock=CLOCK,
        entropy=ENTROPY,
        intake=intake_of(app.ledger.bell, settings.routes, queues, ENTROPY),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pool.drain)
    asyncio.get_running_loop().add_signal_handler(LOOK, pool.look)
    try:
        await pool.run()
        await app.ledger.put("worker", holder, None)
    finally:
        await app.close()
    if pool.is_worn:
        # Something here ignores every wish to stop; the supervisor starts a fresh process.
        with suppress(OSError):
            print(f"worker {holder}: replaced, because a job would not stop", file=sys.stderr)
            sys.stderr.flush()
        os._exit(0)


def _run_a_job(reference: str, settings: Settings) -> int:
    """Run one job; code that can't be loaded here, for want of a variable say, is its failure."""
    tasks: Mapping[str, Runnable] = {}
    failed: BaseException | None = None
    try:
        faulthandler.enable()  # a segfault shows at which line, on the worker's terminal
        app = load_app(reference)
        app.configure(settings)
        capture()
        tasks = app.tasks
    except (Exception, SystemExit) as error:  # noqa: BLE001 - user code; told to the worker
        failed = error

    def task_of(name: str) -> Runnable | NoTask | None:
        return tasks.get(name) if failed is None else NoTask(failed)

    blobs = open_blobs(settings.blobs, payload_max=settings.max_payload)
    asyncio.run(serve(task_of, blobs, CLOCK, ENTROPY))
    return 0


def _serve(app: Outlast, settings: Settings) -> None:
    import uvicorn  # a worker must not load the web stack

    from outlast.api import create  # as above

    uvicorn.run(
        create(app, host=settings.host),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # nothing here asks where a caller is
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=64 * 1024,
    )


def main(arguments: list[str]) -> int:
    """Run one child until its parent stops it; exit 4 when the app can't even be loaded.

    `arguments` are worker, api or job; the app; its settings; and of a worker its part, as JSON.
    """
    die_with_parent()
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kind, reference, raw, *more = arguments
    given: dict[str, Any] = json.loads(raw)
    for name in ("queues", "except_queues"):
        given[name] = tuple(given[name])
    given["ledger"] = os.environ.get("OUTLAST_LEDGER", given["ledger"])
    settings = Settings(**given)
    if "OUTLAST_QUEUE_BROKERS" in os.environ:
        own = json.loads(os.environ["OUTLAST_QUEUE_BROKERS"])
        settings = settings.routed(Routes(os.environ["OUTLAST_BROKER"], own))
    if kind == "job":
        return _run_a_job(reference, settings)
    try:
        app = _load(reference, settings)
        app.configure(settings)
        # What is loaded by now stays: without looking at it, each collection costs far less.
        gc.collect()
        gc.freeze()
        if kind == "api":
            _serve(app, settings)
            return 0
        import uvloop  # only where it exists

        capture()
        part = Part(*map(tuple, json.loads(more[0]))) if more else Part()
        uvloop.run(_work(app, settings, os.environ[MARK], [reference, raw], part))
    except _LoadError:
        return CANT_LOAD
    except OutlastError as error:
        print(f"outlast: {error}", file=sys.stderr)
        return error.exit_code
    return 0


class _LoadError(Exception):
    """The app can't be loaded; somebody has said why."""


def _load(reference: str, settings: Settings) -> Outlast:
    """Load the app; say once, of its own code alone, what is wrong with it."""
    try:
        app = load_app(reference)
        _must_agree(app, settings)
        return app
    except (Exception, SystemExit) as error:
        if SPEAKER in os.environ:
            told, hint = str(error), os.environ[SPEAKER]
            if not isinstance(error, OutlastError):
                told = f"app {reference} can't be loaded\n{_own_traceback(error).rstrip()}"
            for line in filter(None, (told, hint)):
                print(f"outlast: {line}", file=sys.stderr)
        raise _LoadError from error


def _must_agree(app: Outlast, settings: Settings) -> None:
    """Refuse to work on another ledger, or broker, than the one that the app's own code uses."""
    for name in ("ledger", "broker", "blobs"):
        said, used = app.given.get(name), getattr(settings, name)
        if said is not None and placed(str(said)) != placed(used):
            show = public_url if name == "broker" else shown
            first, second = show(str(said)), show(used)
            raise InvalidInputError(
                f"{name}: the code says {first!r:.200}, this command uses {second!r:.200}",
                hint=f"give --{name} {first}, or leave it out of the code and set it outside",
            )


def _own_traceback(error: BaseException) -> str:
    """Write the traceback from the first line of the app's own code on."""
    where = error.__traceback__
    while where is not None and _is_ours(where.tb_frame.f_code.co_filename):
        where = where.tb_next
    return "".join(traceback.format_exception(type(error), error, where))


def _is_ours(file: str) -> bool:
    return file in {__file__, load.__file__} or "importlib" in file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
