"""A lost answer is asked for again with the same key: one job, however often."""

import asyncio
import json
import threading

import pytest

from outlast.api import create
from outlast.core.errors import UnavailableError
from outlast.core.job import Filter, Page
from outlast.sdk.sync import SyncOutlast
from outlast.sdk.task_handle import TaskHandle
from tests.ledger_fixtures import plant
from tests.worker.rig import Deaf, new_app

BODY = b'{"task": "add", "args": {"a": 1}}'
KEY = "user-1:add:2026-11"


def make(folder):
    app = new_app(folder)

    @app.task
    async def add(a: int) -> int:
        return a

    return app


async def post(asgi, send):
    headers = {
        b"host": b"localhost:8000",
        b"content-type": b"application/json",
        b"content-length": str(len(BODY)).encode(),
        b"idempotency-key": KEY.encode(),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "root_path": "",
        "headers": list(headers.items()),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    async def receive():
        return {"type": "http.request", "body": BODY, "more_body": False}

    await asgi(scope, receive, send)


async def lost_then_asked_again(app):
    """The connection breaks when the answer is written; then the client comes again."""
    asgi, told = create(app), []

    async def broken(message):
        raise OSError("the client is gone")

    async def heard(message):
        told.append(message)

    async with asgi.router.lifespan_context(asgi):
        with pytest.raises(OSError, match="gone"):
            await post(asgi, broken)
        await post(asgi, heard)
        jobs = (await app.ledger.count(Filter(), "")).get((), 0)
        (stored, *_) = await app.ledger.find(Filter(), Page(limit=5))
    start, body = told[0], json.loads(b"".join(m.get("body", b"") for m in told[1:]))
    replayed = dict(start["headers"]).get(b"idempotency-replayed")
    assert (jobs, replayed, body["id"]) == (1, b"true", stored.id)


@pytest.mark.fault("F35")
async def test_a_reply_lost_after_the_commit_makes_no_second_job(tmp_path):
    await lost_then_asked_again(make(tmp_path))


async def test_that_law_finds_keys_that_are_not_kept(tmp_path, monkeypatch):
    forgetful = "SELECT :tenant, :key, :fingerprint, :job_id, :submitted_at, :expires_at"
    plant(monkeypatch, "key_put", lambda _: forgetful)

    with pytest.raises(AssertionError):
        await lost_then_asked_again(make(tmp_path))


async def test_a_submit_whose_commit_was_not_heard_of_can_be_repeated(tmp_path):
    app = make(tmp_path)
    async with app:
        app._ledger = Deaf(app.ledger, "insert")
        handle = None
        for _ in range(2):
            try:
                handle = await add_of(app).options(key=KEY).submit(a=1)
            except UnavailableError:
                continue
        assert handle.duplicate
        assert (await app.ledger.count(Filter(), ""))[()] == 1


def add_of(app):
    return TaskHandle(app, app.tasks["add"])


@pytest.mark.fault("F16")
def test_fifty_threads_with_one_key_submit_one_job(tmp_path):
    app = make(tmp_path)
    add, found, gate = add_of(app), [], threading.Barrier(50)
    with SyncOutlast(app) as jobs:

        def submit():
            gate.wait()
            found.append(jobs.submit(add.options(key=KEY), a=1).id)

        threads = [threading.Thread(target=submit) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async def count():
        async with app:
            return (await app.ledger.count(Filter(), ""))[()]

    assert len(found) == 50
    assert len(set(found)) == 1
    assert asyncio.run(count()) == 1
