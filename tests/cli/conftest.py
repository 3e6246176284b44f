"""The commands as a user runs them: on a ledger file, and against a server of the same file."""

import os
from contextlib import ExitStack

import pytest
from click.testing import CliRunner

from outlast import Outlast
from outlast.cli.commands import cli
from outlast.core import transition
from outlast.core.job import NewJob, Want
from outlast.core.limits import LEASE_US
from outlast.core.retry import DEFAULT_BACKOFF
from outlast.system import new_id
from tests.cli.rig import served, started, using

APP = """\
import asyncio

from outlast import Job, Outlast

app = Outlast()


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(retries=0)
async def boom(row: int) -> None:
    raise ValueError(f"row {row} is \\x1b[31mbad")


@app.task
async def count(job: Job, n: int) -> str:
    for _ in job.track(range(n), "counting"):
        await asyncio.sleep(0)
    job.log("counted")
    return "done"


@app.task
async def endless(job: Job) -> None:
    while True:
        await asyncio.sleep(0.01)
        job.check()
"""


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("OUTLAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run():
    """Run a command in this process."""

    def invoke(*arguments, env=None):
        return CliRunner().invoke(cli, [str(a) for a in arguments], env=env)

    return invoke


@pytest.fixture
def url(tmp_path):
    """Make an empty ledger; give its URL."""
    ledger = f"sqlite:///{tmp_path}/outlast.db"
    using(ledger, lambda opened: opened.migrate())
    return ledger


@pytest.fixture
def app(tmp_path):
    path = tmp_path / "studio.py"
    path.write_text(APP, "utf-8")
    return path


@pytest.fixture
def put(url):
    """Put a job into the ledger in a state: pending, processing, completed, failed."""

    def make(status="pending", task="report", **fields):
        async def work(ledger):
            job = NewJob(id=new_id(), task=task, **fields)
            await ledger.insert([job])
            if status == "pending":
                return job.id
            await ledger.put("worker", "w", "{}", ttl_us=LEASE_US)
            (lease,) = await ledger.claim(Want("w", (job.queue,), 1))
            error = {"type": "ValueError", "message": "row 17", "retryable": False,
                     "fingerprint": "f1", "attempt": 1}  # fmt: skip
            changes = {
                "processing": [],
                "completed": [transition.completed(lease, '{"rows": 2}')],
                "failed": [transition.failed(lease, error, backoff=DEFAULT_BACKOFF, dice=0.5)],
            }[status]
            await ledger.commit(changes)
            return job.id

        return using(url, work)

    return make


@pytest.fixture
def start(app):
    """Start `outlast dev` or `outlast api` as a process; give what it says when it is ready."""
    with ExitStack() as running:
        yield lambda command, *arguments: running.enter_context(started(command, app, *arguments))


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """The whole product in one command, with one worker; its tests share it and its ledger."""
    folder = tmp_path_factory.mktemp("dev")
    app = folder / "studio.py"
    app.write_text(APP, "utf-8")
    ledger = ("--ledger", f"sqlite:///{folder}/outlast.db", "--blobs", folder / "files")
    with started("dev", app, *ledger, "--processes", "1") as ready:
        yield ready


@pytest.fixture
def server(url):
    """A server of the ledger, which knows the task of the jobs that `put` makes."""
    served_app = Outlast(ledger=url)

    @served_app.task
    async def report(month: str = "", user_id: int = 0) -> None:
        """Stand for work that nobody does here."""

    with served(served_app) as address:
        yield address


@pytest.fixture(params=["ledger", "server"])
def target(request, url):
    """The same jobs seen both ways: with --ledger, and with --url."""
    if request.param == "ledger":
        return ("--ledger", url)
    return ("--url", request.getfixturevalue("server"))
