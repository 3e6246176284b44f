"""The façades for code without an event loop: the app's, and the client's."""

import threading

import pytest

from outlast import Outlast, SyncClient, SyncOutlast
from outlast.core.errors import (
    ConflictError,
    InvalidInputError,
    JobCancelledError,
    NotFoundError,
    UnavailableError,
)
from outlast.core.status import Status
from outlast.system import new_id
from tests.cli.rig import served


@pytest.fixture
def app(tmp_path):
    made = Outlast(ledger=f"sqlite:///{tmp_path}/outlast.db")

    @made.task
    async def add(a: int, b: int) -> int:
        return a + b

    made.add = add
    return made


def verbs(handle):
    """What one can do with a job that no worker runs."""
    assert handle.status().status is Status.PENDING
    assert next(handle.events()).type == "submitted"
    assert handle.cancel() == "cancelled"
    assert [event.type for event in handle.events()] == ["submitted", "cancelled"]
    with pytest.raises(JobCancelledError):
        handle.result(timeout=5)
    handle.retry()
    with pytest.raises(ConflictError):
        handle.retry()
    assert handle.cancel(timeout=5) == "cancelled"


def test_plain_code_submits_watches_and_stops_jobs_in_process(app):
    with SyncOutlast(app) as jobs:
        verbs(jobs.submit(app.add, a=1, b=2))
        with pytest.raises(NotFoundError):
            jobs.handle(new_id()).status()


def test_plain_code_submits_watches_and_stops_jobs_over_http(app):
    with served(app) as url, SyncClient(url, timeout=5) as client:
        verbs(client.submit("add", {"a": 1, "b": 2}))
        good, bad = client.submit_batch([{"task": "add", "args": {"a": 1, "b": 2}}, {"task": "?"}])
        assert client.handle(good.id).status().status is Status.PENDING
        assert isinstance(bad, InvalidInputError)
        assert len(client.call("GET", "/v1/jobs")["jobs"]) == 2


def test_the_background_thread_ends_with_the_block(app):
    before = threading.active_count()

    with SyncOutlast(app), pytest.raises(UnavailableError):  # noqa: SIM117 - the order matters
        with SyncClient("http://127.0.0.1:1", retry_for=0) as client:
            client.run("add")

    assert threading.active_count() == before
