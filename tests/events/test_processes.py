"""Publishers as processes: killed, beside each other, and told by the doctor."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from outlast.core.job import NewJob
from outlast.core.limits import SECOND
from outlast.system import CLOCK, new_id
from tests.events.rig import by_job, cursor, firsts, live, running, told_by
from tests.pages import ROOT

APP = """\
from outlast import Outlast

app = Outlast()


@app.task
async def add(a: int, b: int) -> int:
    return a + b
"""


@contextmanager
def process(*arguments, **environment):
    """Run a program of this checkout; it is killed in the end."""
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


async def test_a_publisher_that_is_killed_in_the_midst_leaves_nothing_out(
    either, either_url, place
):
    ids = await live(either, jobs=10)
    with process("tests.events.crash", either_url, place.url) as killed:
        assert await asyncio.to_thread(killed.stdout.readline) == "30\n"
        os.kill(killed.pid, signal.SIGKILL)
    ids += await live(either, jobs=10)
    everything = await told_by(either)

    async with running(place.stream(either)):
        came = await place.read(everything)
        while (await cursor(either, place.name)).position < len(everything):
            await either.bell.wait(0.1)
    came = await place.read(everything)

    heard = [event.get_id() for event in came]
    assert len(heard) > len(everything)  # it had published, and nobody knew
    assert by_job(firsts(heard)) == {id_: [1, 2, 3] for id_ in ids}
    first = {}
    for event in came:
        assert first.setdefault(event.get_id(), event).get_data() == event.get_data()


@contextmanager
def worker(app, url, events):
    """Run `outlast worker` until it says that it is ready."""
    given = ("worker", str(app), "--ledger", url, "--processes", "1", "--json")
    with process("outlast", *given, OUTLAST_EVENTS=events) as started:
        assert json.loads(started.stdout.readline())["workers"] == 1
        yield started


def arguments_of_all(pid):
    """Return what everybody on the machine can read of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return b"".join(Path(f"/proc/{one}/cmdline").read_bytes() for one in [str(pid), *children])


async def test_two_nodes_publish_once_and_the_second_takes_over(ledger, url, place, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(APP)
    with worker(app, url, place.url) as first:
        while not await ledger.docs("stream"):
            await ledger.bell.wait(0.1)
        holder = (await cursor(ledger, place.name)).holder
        with worker(app, url, place.url):
            for n in range(20):
                await submit(ledger, n)
            once = await place.read(await ends(ledger, 20))
            os.kill(first.pid, signal.SIGKILL)
            for n in range(20):
                await submit(ledger, n)
            came = await place.read(await ends(ledger, 40))
            taken_by = (await cursor(ledger, place.name)).holder

    assert len(once) == len({event.get_id() for event in once})
    heard = by_job(firsts(event.get_id() for event in came))
    assert len(heard) == 40
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in heard.values())
    assert taken_by != holder


async def submit(ledger, n):
    await ledger.insert([NewJob(id=new_id(), task="add", args=json.dumps({"a": n, "b": 1}))])


async def ends(ledger, number):
    """Return the IDs of all events once as many jobs have ended."""
    limit = CLOCK.elapsed_us() + 30 * SECOND
    while len(await ledger.history(None, limit=10_000, type="completed")) < number:
        assert CLOCK.elapsed_us() < limit
        await ledger.bell.wait(0.1)
    return await told_by(ledger)


async def test_no_process_shows_the_password_of_kafka(ledger, url, place, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(APP)
    events = place.url.replace("kafka://", "kafka://ann:s3cr3t@")

    with worker(app, url, events) as started:
        told = arguments_of_all(started.pid)

    assert b"outlast.cli.child" in told
    assert b"s3cr3t" not in told


def doctor(url, events):
    done = subprocess.run(
        [sys.executable, "-m", "outlast", "doctor", "--ledger", url, "--json"],
        env={**os.environ, "OUTLAST_EVENTS": events},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


async def test_the_doctor_says_whether_the_stream_is_there_and_how_far_behind(ledger, url, place):
    await live(ledger, jobs=2)
    never = await asyncio.to_thread(doctor, url, place.url)
    async with running(place.stream(ledger)):
        await place.read(await told_by(ledger))
        while (await cursor(ledger, place.name)).position < 6:
            await ledger.bell.wait(0.1)
        well = await asyncio.to_thread(doctor, url, place.url)
    await live(ledger, jobs=2)
    behind = await asyncio.to_thread(doctor, url, place.url)
    away = await asyncio.to_thread(doctor, url, "kafka://ann:s3cr3t@127.0.0.1:1/jobs")

    assert not never["events behind"]["ok"]
    assert "outlast worker" in never["events behind"]["hint"]
    assert well["events"]["ok"]
    assert "4 partitions" in well["events"]["detail"]
    assert well["events behind"]["ok"]
    assert "up to 0 events" in well["events behind"]["detail"]
    assert "up to 6 events" in behind["events behind"]["detail"]
    assert not away["events"]["ok"]
    assert "127.0.0.1:1" in away["events"]["detail"]
    assert "s3cr3t" not in json.dumps(away)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ("redis://ann:s3cr3t@k/jobs", "expected kafka://host:port/topic"),
        ("kafka://ann:s3cr3t@k:9092", "with a topic of"),
        ("kafka://ann:s3cr3t@k:9092/a/b", "with a topic of"),
        ("kafka://ann:s3cr3t@k:9092/jobs?form=now", "has no option 'form'"),
        ("kafka://ann:s3cr3t@k:9092/jobs?from=yesterday", "option from"),
        ("kafka://ann:s3cr3t@k:9092/jobs?also=secrets", "option also"),
        ("kafka://ann:s3cr3t@k:9092/jobs?source=a%20b", "option source"),
        ("kafka://ann:s3cr3t@k:9092/jobs?idempotent=perhaps", "option idempotent"),
    ],
)
def test_a_wrong_setting_is_told_without_its_password(url, events, told):
    done = subprocess.run(
        [sys.executable, "-m", "outlast", "doctor", "--ledger", url],
        env={**os.environ, "OUTLAST_EVENTS": events},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode
    assert "OUTLAST_EVENTS" in done.stderr
    assert told in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
