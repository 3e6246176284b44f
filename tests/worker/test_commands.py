"""A program as a task: what it is given, what it says, what it leaves, and how it is stopped."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from test_death import gone

from outlast.core.errors import CommandError, InvalidInputError, JobFailedError
from outlast.core.retry import GIVE_UP
from tests.worker.rig import (
    AT_ONCE,
    DEADLINE_S,
    assert_told,
    data_of,
    has_event,
    new_app,
    running,
    until,
)

SHOW = "import sys; print(sys.argv[1:])"


def python(code, *argv):
    return [sys.executable, "-c", code.replace("{", "{{").replace("}", "}}"), *argv]


@pytest.fixture
async def app(tmp_path):
    async with new_app(tmp_path) as app:
        yield app


async def fails(app, handle):
    with pytest.raises(JobFailedError) as caught:
        await handle.result(DEADLINE_S)
    await assert_told(app.ledger, handle.id)
    return caught.value.facts["error"]


async def said(app, handle):
    return [line["message"] for line in await data_of(app, handle, "log")]


async def test_an_argument_stays_one_argument_whatever_is_in_it(app):
    show = app.command(
        "show", python(SHOW, "--name={name}", "{rest}"), args={"name": str, "rest": list[str]}
    )
    nasty = "$(touch /tmp/x); `id` 'a\" b\n*"
    handle = await show.submit(name=nasty, rest=["a b", ""])
    async with running(app):
        result = await handle.result(DEADLINE_S)
    assert result == {"exit_code": 0, "files": []}
    assert await said(app, handle) == [str([f"--name={nasty}", "a b", ""])]


@pytest.mark.parametrize("value", ["-rf", "--output=/etc/passwd", "-"])
async def test_no_value_becomes_an_option_by_surprise(app, value):
    bare = app.command("bare", ["cat", "{file}"], args={"file": str})
    listed = app.command("listed", ["cat", "{files}"], args={"files": list[str]})
    ended = app.command("ended", ["cat", "--", "{file}"], args={"file": str})
    inside = app.command("inside", ["cat", "./{file}"], args={"file": str})

    with pytest.raises(InvalidInputError, match="read as an option"):
        await bare.submit(file=value)
    with pytest.raises(InvalidInputError, match="read as an option"):
        await listed.submit(files=["a", value])
    assert ended.task.recipe.template.fill({"file": value}) == ["cat", "--", value]
    assert inside.task.recipe.template.fill({"file": value}) == ["cat", f"./{value}"]


async def test_wrong_arguments_are_refused_at_the_door(app):
    cut = app.command("cut", ["cut", "{at}", "{name}"], args={"at": int, "name": (str, "x")})

    for wrong, path in (({"at": "soon"}, "args.at"), ({"at": 1, "name": "a\0b"}, "args.name")):
        with pytest.raises(InvalidInputError) as caught:
            await cut.submit(**wrong)
        assert [e["path"] for e in caught.value.facts["errors"]] == [path]
    assert cut.task.recipe.template.fill({"at": -1, "name": "x"}) == ["cut", "-1", "x"]


@pytest.mark.parametrize(
    ("argv", "options", "told"),
    [
        ("ls -l", {}, "a list of texts"),
        (["{program}"], {"args": {"program": str}}, "must not choose what runs"),
        (["ls", "{a.b}"], {"args": {"a": str}}, "no plain name"),
        (["ls", "{a!r}"], {"args": {"a": str}}, "no plain name"),
        (["ls", "{a}"], {}, "expected a place for each"),
        (["ls"], {"args": {"a": str}}, "expected a place for each"),
        (["ls"], {"keep": ("../*",)}, "keep"),
        (["ls"], {"keep": ("/etc/*",)}, "keep"),
        (["ls"], {"progress": "ffmepg"}, "progress"),
        (["ls"], {"ok_exit_codes": (300,)}, "ok_exit_codes"),
        (["ls"], {"memory": "a lot"}, "memory"),
    ],
)
async def test_a_command_that_can_t_work_is_refused_when_it_is_registered(app, argv, options, told):
    with pytest.raises(InvalidInputError, match=told):
        app.command("bad", argv, **options)


async def test_what_it_prints_is_its_log_and_its_progress_and_its_files_stay(app):
    code = """
import os, sys
for n in range(4):
    print(f"{25 * n + 25} % done", end="\\r", flush=True)
print("bytes\\xe4", file=sys.stderr)
open("a.mp4", "w").write("film"); open("b.txt", "w").write("scrap")
os.mkdir("sub"); open("sub/c.mp4", "w").write("more"); os.symlink("/etc/passwd", "link.mp4")
"""
    film = app.command("film", python(code), keep=("*.mp4", "sub/*.mp4"), progress="percent")
    handle = await film.submit()
    async with running(app):
        result = await handle.result(DEADLINE_S)
    row = await assert_told(app.ledger, handle.id)
    assert result == {"exit_code": 0, "files": ["a.mp4", "sub/c.mp4"]}
    assert [a["name"] for a in json.loads(row.artifacts)] == ["a.mp4", "sub/c.mp4"]
    assert json.loads(row.progress)["percent"] == 100.0
    assert await said(app, handle) == ["bytesä"]


async def test_a_bad_exit_code_is_told_and_can_be_ruled_on(app):
    code = "import sys; print('no such codec', file=sys.stderr); sys.exit(int(sys.argv[1]))"
    args, argv = {"code": int}, python(code, "{code}")
    once = app.command(
        "once", argv, args=args, ok_exit_codes=(0, 4), on_error={CommandError: GIVE_UP}
    )
    again = app.command("again", argv, args=args, retries=1, backoff=AT_ONCE)
    bad, fine, twice = await once.submit(7), await once.submit(4), await again.submit(7)
    async with running(app):
        error = await fails(app, bad)
        assert (await fine.result(DEADLINE_S))["exit_code"] == 4
        await fails(app, twice)
    assert error["type"] == "CommandError"
    assert "exit code 7: no such codec" in error["message"]
    assert error["facts"] == {"exit_code": 7, "stderr": "no such codec"}
    assert "reason" not in error
    assert ((await bad.record()).attempt, (await twice.record()).attempt) == (1, 2)


async def test_a_missing_program_is_no_reason_to_try_again(app):
    missing = app.command("missing", ["no-such-program-here", "-v"], retries=5, backoff=AT_ONCE)
    handle = await missing.submit()
    async with running(app):
        error = await fails(app, handle)
    assert "can't be started: exec no-such-program-here: No such file" in error["message"]
    assert (await handle.record()).attempt == 1


async def test_a_program_that_dies_has_crashed(app):
    code = "import os; os.abort()"
    handle = await app.command("dies", python(code), backoff=AT_ONCE, retries=9).submit()
    async with running(app):
        error = await fails(app, handle)
    row = await handle.record()
    assert (error["type"], error["reason"], row.lost) == ("CrashedError", "crashed", 3)
    assert error["facts"] == {"signal": "SIGABRT"}


STUBBORN = """
import os, signal, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
open(f"{sys.argv[1]}/{os.getpid()}", "w").write(os.getcwd())
while True:
    signal.pause()
"""


@pytest.mark.parametrize(("how", "outcome"), [("polite", "cancelled"), ("deaf", "killed")])
async def test_a_cancelled_program_gets_sigterm_and_then_sigkill_with_its_tree(
    app, tmp_path, how, outcome
):
    pids = tmp_path / "pids"
    pids.mkdir()
    runs = app.command(
        "runs", python(STUBBORN, "{to}", "{how}"), args={"to": Path, "how": str}, grace=0.3
    )
    handle = await runs.submit(to=str(pids), how=how)
    async with running(app):
        await until(app.ledger, lambda: both(pids))
        assert await handle.cancel(timeout=DEADLINE_S) == outcome
    assert all(gone(int(path.name)) for path in pids.iterdir())
    assert not any(is_there(path.read_text()) for path in pids.iterdir())


async def both(folder):
    written = [path for path in folder.iterdir() if path.stat().st_size]
    return len(written) == 2


def is_there(path):
    return os.path.lexists(path)


async def test_a_silent_program_is_stalled_and_one_that_talks_is_not(app):
    code = (
        "import sys, time\nfor n in range(8): print(n, flush=True); time.sleep(float(sys.argv[1]))"
    )
    talk = app.command(
        "talk", python(code, "{pause}"), args={"pause": float}, retries=0, stall_after=1.5
    )
    talks, silent = await talk.submit(0.25), await talk.submit(60)
    async with running(app):
        assert (await talks.result(DEADLINE_S))["exit_code"] == 0
        assert (await fails(app, silent))["type"] == "StalledError"


async def test_a_drained_program_is_given_back(app):
    waits = app.command("waits", python("import signal; print('on', flush=True); signal.pause()"))
    handle = await waits.submit()
    async with running(app, grace_s=0.0):
        await has_event(app, handle, "log")
    row = await assert_told(app.ledger, handle.id)
    assert (row.status, row.attempt) == ("pending", 0)


async def test_a_program_that_prints_without_end_fills_nothing(app, monkeypatch):
    from outlast.sdk import context

    monkeypatch.setattr(context, "LOG_LINES_MAX", 50)
    code = "import sys\nfor n in range(200_000): print('x' * 50)\nprint('y' * 3_000_000)"
    handle = await app.command("flood", python(code)).submit()
    async with running(app):
        await handle.result(DEADLINE_S)
    lines = await said(app, handle)
    assert len(lines) == 50
    assert "log cut here" in lines[-1]


async def test_a_program_sees_no_variables_but_those_let_through(app, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("WANTED", "yes")
    code = "import os; print(sorted(os.environ)); print(os.listdir('/proc/self/fd'))"
    few = app.command("few", python(code), env=("WANTED",))
    handle = await few.submit()
    async with running(app):
        await handle.result(DEADLINE_S)
    names, descriptors = await said(app, handle)
    assert "SECRET" not in names
    assert "WANTED" in names
    assert descriptors == "['0', '1', '2', '3']"  # the last one reads the list


async def test_commands_are_tasks_like_any_other(app):
    film = app.command("film", ["ffmpeg", "-i", "{source}"], args={"source": str}, queue="slow")

    assert film.task.args_schema()["required"] == ["source"]
    assert film.task.result_schema()["title"] == "CommandResult"
    assert film.task.queue == "slow"
    assert "ffmpeg -i" in film.__doc__
    with pytest.raises(InvalidInputError, match="registered twice"):
        app.command("film", ["ls"])
    assert asyncio.iscoroutinefunction(film.task.fn)
