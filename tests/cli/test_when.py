"""When a job runs is said, and said again, alike in Python, over HTTP and by command."""

from datetime import UTC, datetime, timedelta

import pytest

from outlast import SyncClient, SyncOutlast
from outlast.core.errors import ConflictError, InvalidInputError
from outlast.core.limits import DAY, HOUR, MINUTE, SECOND
from outlast.core.status import Status
from outlast.sdk.load import load_app
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.loop import Upkeep
from tests.cli.rig import served, using

LATER = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER_US = int(LATER.timestamp()) * SECOND


class InPython:
    """A way to submit and to change: the SDK in process."""

    def __init__(self, url, app, address, run):
        self._app = load_app(str(app))
        self._app.configure(Settings.load(ledger=url))

    def submit(self, **options):
        from outlast.sdk.task_handle import TaskHandle

        with SyncOutlast(self._app) as jobs:
            task = TaskHandle(self._app, self._app.registered("add")).options(**options)
            return jobs.submit(task, a=1, b=2).id

    def change(self, job_id, **changes):
        with SyncOutlast(self._app) as jobs:
            jobs.handle(job_id).change(**changes)


class OverHttp:
    """A way to submit and to change: a client of the API."""

    def __init__(self, url, app, address, run):
        self._address = address

    def submit(self, **options):
        with SyncClient(self._address) as client:
            return client.submit("add", {"a": 1, "b": 2}, **options).id

    def change(self, job_id, **changes):
        with SyncClient(self._address) as client:
            client.handle(job_id).change(**changes)


class ByCommand:
    """A way to submit and to change: the command line."""

    def __init__(self, url, app, address, run):
        self._run = run
        self._url = url
        self._app = app

    def _said(self, **options):
        for name, value in options.items():
            text = value.isoformat() if isinstance(value, datetime) else value
            yield from (f"--{name.replace('_', '-')}", "now" if text is None else text)

    def _done(self, *arguments):
        result = self._run(*arguments, "--ledger", self._url)
        if result.exit_code:
            kinds = {2: InvalidInputError, 5: ConflictError}
            raise kinds[result.exit_code](result.stderr)
        return result.stdout.strip()

    def submit(self, **options):
        return self._done("submit", self._app, "add", "a=1", "b=2", *self._said(**options))

    def change(self, job_id, **changes):
        self._done("change", job_id, *self._said(**changes))


@pytest.fixture(params=[InPython, OverHttp, ByCommand])
def way(request, url, app, run):
    loaded = load_app(str(app))
    loaded.configure(Settings.load(ledger=url))
    with served(loaded) as address:
        yield request.param(url, app, address, run)


@pytest.fixture
def row(url):
    return lambda job_id: using(url, lambda ledger: ledger.get([job_id]))[0]


def upkeep(url, later_us):
    async def work(ledger):
        await Upkeep(ledger, clock=CLOCK, entropy=ENTROPY).tick(CLOCK.now_us() + later_us)

    using(url, work)


def test_a_delay_holds_a_job_back_for_so_long(way, row, url):
    job = row(way.submit(delay="2h"))
    assert (job.status, job.run_at - job.submitted_at) == (Status.SCHEDULED, 2 * HOUR)

    upkeep(url, HOUR)
    assert row(job.id).status is Status.SCHEDULED
    upkeep(url, 2 * HOUR + MINUTE)

    assert row(job.id).status is Status.PENDING


def test_a_run_at_holds_a_job_back_until_then(way, row):
    job = row(way.submit(run_at=LATER.isoformat()))

    assert (job.status, job.run_at) == (Status.SCHEDULED, LATER_US)


def test_a_job_that_was_not_started_in_time_is_cancelled(way, row, url):
    job = row(way.submit(expires_in="1h"))
    assert job.expires_at - job.submitted_at == HOUR

    upkeep(url, HOUR + MINUTE)

    assert row(job.id).status is Status.CANCELLED


def test_a_priority_is_kept(way, row):
    assert row(way.submit(priority=50)).priority == 50


def test_a_waiting_job_is_changed(way, row):
    job_id = way.submit()

    way.change(job_id, priority=-7, queue="slow", max_attempts=9)
    changed = row(job_id)
    way.change(job_id, run_at=LATER)
    later = row(job_id)
    way.change(job_id, run_at=None)

    assert (changed.priority, changed.queue, changed.max_attempts) == (-7, "slow", 9)
    assert (later.status, later.run_at) == (Status.SCHEDULED, pytest.approx(LATER_US, abs=SECOND))
    assert row(job_id).status is Status.PENDING
    assert abs(row(job_id).run_at - CLOCK.now_us()) < MINUTE


def test_a_change_that_can_t_be_is_refused(way, row, url):
    job_id = way.submit()

    with pytest.raises(InvalidInputError, match="priority"):
        way.change(job_id, priority=101)
    using(url, lambda ledger: cancelled(ledger, job_id))
    with pytest.raises(ConflictError, match="cancelled"):
        way.change(job_id, priority=1)

    assert row(job_id).priority == 0


async def cancelled(ledger, job_id):
    from outlast.core import transition

    await ledger.commit([transition.cancel(job_id, Status.PENDING, reason="r")])


def test_a_delay_of_a_change_counts_from_now(run, url, app, row):
    way = ByCommand(url, app, None, run)
    job_id = way.submit()

    way.change(job_id, delay="1d")
    both = run("change", job_id, "--delay", "1d", "--run-at", "now", "--ledger", url)

    assert abs(row(job_id).run_at - CLOCK.now_us() - DAY) < MINUTE
    assert both.exit_code == 2


async def test_what_a_stranger_calls_a_field_is_no_argument_of_ours(tmp_path):
    from outlast.sdk.app import Outlast

    app = Outlast(ledger=f"sqlite:///{tmp_path}/o.db")

    @app.task
    async def noop() -> None: ...

    async with app:
        handle = await noop.options(delay=timedelta(hours=1)).submit()
        with pytest.raises(InvalidInputError, match="self: no such field"):
            await handle.change(self=1)
