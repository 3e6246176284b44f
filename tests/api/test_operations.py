"""What operators do: many jobs at once, changes, redrives at a rate, and who may do what."""

import asyncio
import json
from hashlib import sha256

import pytest
from starlette.requests import Request

from outlast.api import events
from outlast.api.context import Context
from outlast.api.guard import ANYBODY
from outlast.api.overview import Figures
from outlast.api.routes import WAYS
from outlast.core import transition
from outlast.core.job import Filter, Want
from outlast.core.status import Status
from outlast.system import new_id

SCOPES = ("submit", "read", "operate", "admin")


async def post(api, count=1, **body):
    made = [
        await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}, **body})
        for _ in range(count)
    ]
    assert {answer.status_code for answer in made} == {202}
    return [answer.json()["id"] for answer in made]


async def fail(app, api, count):
    """Make dead letters."""
    ids = await post(api, count, task="fail", args={"why": "no"})
    for job_id in ids:
        async for event in app.handle(job_id).events():
            assert event
    return ids


async def key(app, secret, scopes, tenant=""):
    doc = json.dumps({"scopes": list(scopes), "tenant": tenant, "prefix": secret[:4]})
    await app.ledger.put("key", sha256(secret.encode()).hexdigest(), doc)
    return {"Authorization": f"Bearer {secret}"}


async def status_of(api, job_id):
    return (await api.get(f"/v1/jobs/{job_id}")).json()["status"]


async def test_many_are_cancelled_by_a_filter_and_no_others(api):
    kept, gone = await post(api, 2), await post(api, 3, tags=["old"])

    answer = await api.post("/v1/jobs/cancel", json={"tag": "old"})

    assert (answer.status_code, answer.json()) == (202, {"cancelled": 3})
    assert {await status_of(api, n) for n in gone} == {"cancelled"}
    assert {await status_of(api, n) for n in kept} == {"pending"}


@pytest.mark.parametrize("what", ["cancel", "retry", "discard"])
@pytest.mark.parametrize("body", [{}, {"tag": None}, {"colour": "red"}, {"status": "completed"}])
async def test_a_bulk_call_without_a_sound_filter_does_nothing(api, app, what, body):
    (job_id,) = await post(api)
    before = await app.ledger.history(None)

    answer = await api.post(f"/v1/jobs/{what}", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert await app.ledger.history(None) == before
    assert await status_of(api, job_id) == "pending"


async def test_many_are_retried_and_discarded(api, app, worker):
    await fail(app, api, 3)

    retried = await api.post("/v1/jobs/retry", json={"task": "fail"})
    assert retried.json() == {"retried": 3}
    where = Filter(status=Status.FAILED)
    while (await app.ledger.count(where, "")).get((), 0) < 3:
        await app.ledger.bell.wait(0.1)

    assert (await api.post("/v1/jobs/discard", json={"task": "fail"})).json() == {"discarded": 3}
    assert (await api.get("/v1/dead-letters")).json()["dead_letters"] == []


async def test_a_waiting_job_is_changed_and_a_running_one_is_not(api, app):
    (job_id,) = await post(api)
    change = {"priority": 7, "queue": "tiny", "max_attempts": 9}

    changed = (await api.patch(f"/v1/jobs/{job_id}", json=change)).json()
    assert {name: changed[name] for name in change} == change
    later = await api.patch(f"/v1/jobs/{job_id}", json={"run_at": "2999-01-01T00:00:00Z"})
    assert later.json()["status"] == "scheduled"
    assert later.json()["run_at"] == "2999-01-01T00:00:00.000000Z"
    now = await api.patch(f"/v1/jobs/{job_id}", json={"run_at": "2000-01-01T00:00:00Z"})
    assert now.json()["status"] == "pending"
    wrong = await api.patch(f"/v1/jobs/{job_id}", json={"priority": 999, "colour": 1})
    assert {e["path"] for e in wrong.json()["errors"]} == {"priority", "colour"}
    await api.post(f"/v1/jobs/{job_id}/cancel")
    assert (await api.patch(f"/v1/jobs/{job_id}", json={"priority": 1})).status_code == 409


async def test_a_redrive_at_a_rate_spreads_the_jobs(api, app, worker):
    ids = await fail(app, api, 4)
    worker.drain()

    answer = await api.post("/v1/dead-letters/redrive", json={"ids": ids, "rate": 2})

    assert answer.json() == {"redriven": 4}
    rows = await app.ledger.get(ids)
    starts = sorted(row.run_at for row in rows)
    assert [round((at - starts[0]) / 500_000) for at in starts] == [0, 1, 2, 3]


@pytest.mark.parametrize("rate", [0, -1, True, "fast", 10**9])
async def test_a_wrong_rate_is_refused(api, rate):
    answer = await api.post("/v1/dead-letters/redrive", json={"task": "fail", "rate": rate})

    assert answer.json()["errors"][0]["path"] == "rate"


async def test_all_events_are_read_with_filters_and_from_a_position(api, app):
    await key(app, "root", ["admin"])
    mine = await key(app, "mine", ["submit", "read"], tenant="a")
    root = {"Authorization": "Bearer root"}
    await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}}, headers=mine)
    await api.post("/v1/jobs", json={"task": "fail", "args": {"why": "x"}}, headers=root)

    async def seen(headers, query=""):
        answer = await api.get(f"/v1/events{query}", headers=headers)
        return answer.json()["events"]

    everything = await seen(root)
    assert len(everything) == 2
    assert len(await seen(mine)) == 1
    assert len(await seen(root, "?task=fail")) == 1
    assert await seen(root, "?type=completed") == []
    assert await seen(root, f"?after={everything[0]['position']}") == everything[1:]


async def test_the_stream_of_all_events_tells_what_happens_live(api, app):
    # The test's transport gives a whole answer at once, so the stream is asked for directly.
    context = Context(app)
    headers = [(b"accept", b"text/event-stream")]
    scope = {"type": "http", "method": "GET", "query_string": b"", "headers": headers}
    response = await events.of_all(context, Request(scope), ANYBODY)
    frames = response.body_iterator
    (job_id,) = await post(api)

    async with asyncio.timeout(10):
        frame = await anext(frames)
        while b"event:" not in frame:
            frame = await anext(frames)
    assert job_id.encode() in frame
    await frames.aclose()
    await context.watch.close()


async def test_what_a_job_logged_is_read_from_where_one_was(api, app, worker):
    (job_id,) = await post(api, queue="elsewhere")
    (lease,) = await app.ledger.claim(Want("w", ("elsewhere",), 1))
    lines = [transition.amended(lease, "log", json.dumps({"message": n})) for n in ("one", "two")]
    await app.ledger.commit(lines)

    logs = (await api.get(f"/v1/jobs/{job_id}/logs")).json()["logs"]
    assert [line["data"]["message"] for line in logs] == ["one", "two"]
    rest = (await api.get(f"/v1/jobs/{job_id}/logs?after={logs[0]['seq']}")).json()["logs"]
    assert [line["data"]["message"] for line in rest] == ["two"]


def path_of(way):
    values = {"{id}": new_id(), "{task}": "add", "{q}": "default", "{name:path}": "f.txt"}
    path = way.path
    for name, value in values.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.method} {way.path}")
async def test_each_call_needs_its_scope_and_no_other_opens_it(api, app, way):
    keys = {scope: await key(app, f"key-{scope}", [scope]) for scope in SCOPES}
    for scope, headers in keys.items():
        # An unknown type, so that nothing happens beyond the guard.
        answer = await api.request(way.method, path_of(way), headers=headers)

        allowed = scope in {way.scope, "admin"}
        assert (answer.status_code != 403) is allowed, scope
        assert answer.status_code != 401


async def test_a_full_queue_names_the_time_that_its_drain_rate_promises():
    figures = Figures("q", completions=4.0)

    assert figures.retry_after(100) == 3  # a tenth of the places, at four a second
    assert figures.retry_after(10_000) == 60
    assert Figures("q").retry_after(100) == 5


async def test_a_full_queue_answers_with_the_measured_rate(api, app, worker):
    for _ in range(40):
        (job_id,) = await post(api, queue="tiny")
        await app.handle(job_id).result(10)
    worker.drain()
    await post(api, 2, queue="tiny")

    refused = await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}, "queue": "tiny"})

    assert refused.status_code == 503
    queue = (await api.get("/v1/queues/tiny")).json()
    assert queue["completions_per_second"] > 0
    assert refused.headers["retry-after"] == "1"  # two places, and dozens of jobs a minute


async def test_a_queue_that_is_drained_takes_nothing_new_and_does_what_is_there(api):
    first = (await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1, "b": 2}})).json()
    changed = await api.patch(f"/v1/queues/{first['queue']}", json={"draining": True})

    refused = await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1, "b": 2}})

    assert changed.json()["draining"] is True
    assert (refused.status_code, refused.json()["code"]) == (503, "queue-full")
    assert "drained" in refused.json()["detail"]
    assert (await api.get(f"/v1/jobs/{first['id']}")).json()["status"] == "pending"


async def test_a_job_of_one_intention_is_answered_with_the_one_that_is_there(api):
    def submit(**unique):
        body = {"task": "add", "args": {"a": 1, "b": 2}, "unique": {"by": ["a"], **unique}}
        return api.post("/v1/jobs", json=body)

    first = await submit()
    again, refused = await submit(), await submit(on="reject")
    replaced = await submit(on="replace")
    wrong = await submit(on="explode")

    assert "job-unique" not in first.headers
    assert (again.headers["job-unique"], again.json()["id"]) == ("existing", first.json()["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate-job")
    assert refused.json()["job_id"] == first.json()["id"]
    assert replaced.headers["job-unique"] == "replaced"
    assert wrong.json()["errors"][0]["path"] == "unique.on"


async def test_a_batch_tells_what_became_of_each_job_of_one_intention(api):
    job = {"task": "add", "args": {"a": 1}, "unique": True}

    answer = await api.post("/v1/jobs/batch", json={"jobs": [job, job]})

    first, second = answer.json()["jobs"]
    assert second == {"id": first["id"], "unique": "existing"}
