"""What a task says is kept with its job, and with no other."""

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager

import pytest
import structlog

from outlast.core.limits import LOG_LINES_MAX
from outlast.sdk.capture import JobLogHandler, capture
from outlast.sdk.context import Job
from tests.worker.rig import DEADLINE_S, data_of, new_app, running

LOG = logging.getLogger("studio")


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


@asynccontextmanager
async def heard():
    """Listen as a worker does, and leave no trace."""
    root = logging.getLogger()
    level, out, err = root.level, sys.stdout, sys.stderr
    capture()
    yield
    root.setLevel(level)
    sys.stdout, sys.stderr = out, err
    for handler in list(root.handlers):
        if isinstance(handler, JobLogHandler):
            root.removeHandler(handler)


async def said(app, handle):
    return [line["message"] for line in await data_of(app, handle, "log")]


async def test_prints_and_log_records_are_lines_of_the_job(app):
    @app.task
    async def talks() -> None:
        LOG.warning("loading %d rows", 3)
        print("half", end="")
        print(" a line")
        print("to the other stream", file=sys.stderr)
        print("no line break", end="")

    handle = await talks.submit()
    async with running(app), heard():
        await handle.result(DEADLINE_S)

    assert await said(app, handle) == [
        "loading 3 rows",
        "half a line",
        "to the other stream",
        "no line break",
    ]
    first, second, *_ = await data_of(app, handle, "log")
    assert first["fields"] == {"level": "WARNING", "logger": "studio"}
    assert second["fields"] == {"stream": "stdout"}


async def test_what_threads_and_steps_say_is_heard(app):
    @app.task
    def threaded(name: str) -> None:
        print("thread", name)

    @app.task
    async def stepped(job: Job) -> None:
        await job.step("one", lambda: print("step"))

    thread, step = await threaded.submit("a"), await stepped.submit()
    async with running(app), heard():
        await thread.result(DEADLINE_S)
        await step.result(DEADLINE_S)
    assert await said(app, thread) == ["thread a"]
    assert await said(app, step) == ["step"]


async def test_jobs_beside_each_other_are_not_mixed_up(app):
    barrier = asyncio.Barrier(4)

    @app.task
    async def talks(n: int) -> None:
        for word in range(5):
            await barrier.wait()
            print(n, word)

    handles = [await talks.submit(n) for n in range(4)]
    async with running(app, concurrency=4), heard():
        for handle in handles:
            await handle.result(DEADLINE_S)
    for n, handle in enumerate(handles):
        assert await said(app, handle) == [f"{n} {word}" for word in range(5)]


@pytest.fixture
def _structlog_as_before():
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_structlog_as_before")
async def test_structlog_through_logging_is_heard_with_its_levels(app):
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    @app.task
    async def talks(n: int) -> None:
        log = structlog.get_logger("studio").bind(job=n)
        log.warning("loaded", rows=3)
        await asyncio.to_thread(log.error, "broken")

    handles = [await talks.submit(n) for n in range(2)]
    async with running(app), heard():
        for handle in handles:
            await handle.result(DEADLINE_S)

    for n, handle in enumerate(handles):
        lines = await data_of(app, handle, "log")
        assert [line["fields"]["level"] for line in lines] == ["WARNING", "ERROR"]
        assert [json.loads(line["message"])["job"] for line in lines] == [n, n]


@pytest.mark.usefixtures("_structlog_as_before")
async def test_structlog_as_it_comes_is_heard_without_its_colours(app):
    @app.task
    async def talks() -> None:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.dev.ConsoleRenderer(colors=True),
            ]
        )
        structlog.get_logger().warning("loaded", rows=3)

    handle = await talks.submit()
    async with running(app), heard():
        await handle.result(DEADLINE_S)

    (line,) = await said(app, handle)
    assert line.split() == ["[warning", "]", "loaded", "rows=3"]


async def test_a_flood_is_cut_with_a_mark_and_prints_and_logs_count_together(app):
    @app.task
    async def floods(job: Job) -> None:
        for n in range(LOG_LINES_MAX):
            print(n)
            job.log(str(n))

    handle = await floods.submit()
    async with running(app), heard():
        await handle.result(DEADLINE_S)

    count = len(await app.ledger.history(handle.id, type="log", limit=3 * LOG_LINES_MAX))
    assert count == LOG_LINES_MAX
    last = (await app.ledger.history(handle.id, type="log", limit=3 * LOG_LINES_MAX))[-1]
    assert "log cut here" in last.data


async def test_what_is_said_outside_of_any_job_goes_where_it_went(capsys):
    async with heard():
        print("outside")
        assert sys.stdout.encoding

    assert capsys.readouterr().out == "outside\n"
