"""The HTTP contract, and what strangers send."""

import asyncio
import json
from hashlib import sha256

import pytest

from outlast.api.guard import guard_exposure
from outlast.api.routes import WAYS
from outlast.core.errors import InvalidInputError
from outlast.core.job import Filter

JSON = {"Content-Type": "application/json"}


async def submit(api, task="add", headers=None, **body):
    return await api.post(
        "/v1/jobs", json={"task": task, "args": {"a": 1}, **body}, headers=headers or {}
    )


async def test_a_submit_answers_at_once_with_where_to_look(api):
    answer = await submit(api)

    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert "retry-after" in answer.headers
    assert answer.json()["status"] == "pending"


async def test_who_prefers_to_wait_gets_the_result(api, worker):
    answer = await submit(api, args={"a": 2, "b": 3}, headers={"Prefer": "wait=10"})

    assert (answer.status_code, answer.json()["result"]) == (200, 5)
    assert answer.headers["preference-applied"] == "wait=10"


async def test_fifty_clicks_with_one_key_are_one_job(api):
    answers = await asyncio.gather(
        *(submit(api, headers={"Idempotency-Key": "click"}) for _ in range(50))
    )

    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["id"] for a in answers}) == 1
    assert sum("idempotency-replayed" in a.headers for a in answers) == 49


async def test_a_key_with_another_request_is_refused(api):
    await submit(api, headers={"Idempotency-Key": "k"})
    answer = await submit(api, args={"a": 9}, headers={"Idempotency-Key": "k"})

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"task": "nope"}, "task"),
        ({"task": "add", "args": {"a": "x"}}, "args.a"),
        ({"task": "add", "args": {}}, "args.a"),
        ({"task": "add", "args": {"a": 1, "z": 1}}, "args.z"),
        ({"task": "add", "args": {"a": 1}, "colour": "red"}, "colour"),
        ({"task": "add", "args": {"a": 1}, "priority": 101}, "priority"),
        ({"task": "add", "args": {"a": 1}, "priority": "1"}, "priority"),
        ({"task": "add", "args": {"a": 1}, "delay": "-5s"}, "delay"),
        ({"task": "add", "args": {"a": 1}, "delay": {"x": 1}}, "delay"),
        ({"task": "add", "args": {"a": 1}, "run_at": "tomorrow"}, "run_at"),
        ({"task": "add", "args": {"a": 1}, "run_at": 7}, "run_at"),
        ({"task": "add", "args": {"a": 1}, "max_attempts": 0}, "max_attempts"),
        ({"task": "add", "args": {"a": 1}, "queue": ""}, "queue"),
        ({"task": "add", "args": {"a": 1}, "queue": ["x"]}, "queue"),
        ({"task": "add", "args": {"a": 1}, "tags": ["\u202e" * 201]}, "tags.0"),
        ({"task": "add", "args": {"a": 1}, "idempotency_key": "x" * 256}, "idempotency_key"),
        ({"task": ["add"], "args": {"a": 1}}, "task"),
        ({"task": "add", "args": [1]}, "args"),
    ],
)
async def test_bad_input_names_its_field_and_stores_nothing(api, app, body, path):
    answer = await api.post("/v1/jobs", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert path in {error["path"] for error in answer.json()["errors"]}
    assert (await app.ledger.count(Filter(), "")).get((), 0) == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"nul", b"\xff", b'{"task": "add\\u0000"}', b'{"a": "\\ud800"}',
        b'{"a": NaN}', b'{"a": ' + b"1" * 10**6 + b"}", b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
    ],
    ids=lambda raw: raw[:12],
)  # fmt: skip
async def test_a_body_that_is_no_sane_json_is_refused_at_the_door(api, raw):
    answer = await api.post("/v1/jobs", content=raw, headers=JSON)

    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_endless_body_is_cut_off_early(api):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    answer = await api.post("/v1/jobs", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert sent < 1_000_000


async def test_a_door_that_lets_too_much_in_is_caught(api, monkeypatch):
    monkeypatch.setattr("outlast.api.body.BODY_BYTES_MAX", 2_000_000)

    with pytest.raises(AssertionError):
        await test_an_endless_body_is_cut_off_early(api)


async def test_another_media_type_is_refused(api):
    assert (await api.post("/v1/jobs", content=b"{}")).status_code == 415
    gzip = {**JSON, "Content-Encoding": "gzip"}
    assert (await api.post("/v1/jobs", content=b"{}", headers=gzip)).status_code == 415


async def test_a_full_queue_says_so_and_when_to_come_back(api):
    answers = [await submit(api, queue="tiny") for _ in range(3)]

    assert [a.status_code for a in answers] == [202, 202, 503]
    assert answers[2].json()["code"] == "queue-full"
    assert int(answers[2].headers["retry-after"]) > 0


async def test_a_batch_answers_entry_by_entry_or_all_or_none(api, app):
    jobs = [{"task": "add", "args": {"a": 1}}, {"task": "nope"}]

    mixed = await api.post("/v1/jobs/batch", json={"jobs": jobs})
    atomic = await api.post("/v1/jobs/batch", json={"jobs": jobs, "atomic": True})

    assert [set(entry) for entry in mixed.json()["jobs"]] == [{"id"}, {"problem"}]
    assert (mixed.status_code, atomic.status_code) == (202, 422)
    assert (await app.ledger.count(Filter(), ""))[()] == 1


async def test_unchanged_jobs_answer_304(api):
    job = (await submit(api)).json()
    first = await api.get(job["links"]["self"])

    again = await api.get(job["links"]["self"], headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


async def test_the_stream_resumes_without_a_gap_and_ends(api, worker):
    job = (await submit(api, headers={"Prefer": "wait=10"})).json()
    headers = {"Accept": "text/event-stream"}

    whole = (await api.get(job["links"]["events"], headers=headers)).text
    rest = (await api.get(job["links"]["events"], headers={**headers, "Last-Event-ID": "2"})).text

    assert [line for line in whole.splitlines() if line.startswith("event")] == [
        "event: submitted", "event: started", "event: progress", "event: artifact",
        "event: completed",
    ]  # fmt: skip
    assert whole.endswith(rest)
    assert rest.startswith("id: 3\n")


async def test_artifacts_come_back_as_downloads_and_in_parts(api, worker):
    job = (await submit(api, args={"a": 40, "b": 2}, headers={"Prefer": "wait=10"})).json()
    path = f"{job['links']['self']}/artifacts/sum.txt"

    whole, part = await api.get(path), await api.get(path, headers={"Range": "bytes=1-1"})

    assert (whole.text, part.text, part.status_code) == ("42", "2", 206)
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["etag"] == f'"{sha256(b"42").hexdigest()}"'
    assert (
        await api.get(f"{job['links']['self']}/artifacts/..%2f..%2fledger.db")
    ).status_code == 404


async def test_dead_letters_are_listed_grouped_and_redriven(api, worker):
    for n in range(3):
        await submit(api, "fail", args={"why": f"row {n}"}, headers={"Prefer": "wait=10"})
    listed = (await api.get("/v1/dead-letters")).json()["dead_letters"]
    (group,) = (await api.get("/v1/dead-letters?group=error")).json()["dead_letters"]
    assert (len(listed), group["count"]) == (3, 3)
    assert "traceback" not in listed[0]["error"]

    answer = await api.post("/v1/dead-letters/redrive", json={"ids": [listed[0]["id"]]})

    assert (answer.status_code, answer.json()) == (202, {"redriven": 1})


async def test_cancel_and_retry_tell_the_truth(api):
    job = (await submit(api)).json()

    assert (await api.post(job["links"]["cancel"])).json()["status"] == "cancelled"
    again = await api.post(job["links"]["cancel"])
    assert (again.status_code, again.json()["code"]) == (409, "already-terminal")
    assert (await api.post(f"{job['links']['self']}/retry")).json()["status"] == "pending"
    assert (await api.get(f"{job['links']['self']}/result")).json()["code"] == "not-finished"


async def test_lists_filter_and_page(api):
    made = [(await submit(api, tags=[f"t{n % 2}"])).json()["id"] for n in range(5)]

    first = (await api.get("/v1/jobs?tag=t0&limit=2")).json()
    rest = (await api.get(f"/v1/jobs?tag=t0&limit=2&cursor={first['next']}")).json()

    assert [j["id"] for j in first["jobs"] + rest["jobs"]] == [made[4], made[2], made[0]]
    assert (await api.get("/v1/jobs?status=lost")).status_code == 422
    assert (await api.get("/v1/jobs?cursor=x'--")).status_code == 422


async def test_a_forgotten_job_is_gone(api):
    job = (await submit(api)).json()
    assert (await api.delete(job["links"]["self"])).status_code == 409
    await api.post(job["links"]["cancel"])

    assert (await api.delete(job["links"]["self"])).status_code == 204
    assert (await api.get(job["links"]["self"])).status_code == 410
    assert (await api.get("/v1/jobs/not-an-id")).json()["code"] == "job-not-found"


async def test_the_operator_s_views_answer(api, worker):
    await submit(api, headers={"Prefer": "wait=10"})
    for path in (
        "/v1/queues",
        "/v1/workers",
        "/v1/tasks",
        "/healthz",
        "/readyz",
        "/metrics",
        "/",
        "/docs",
        "/static/docs.js",
    ):
        assert (await api.get(path)).status_code == 200, path
    queue = (await api.get("/v1/queues/default")).json()
    assert queue["run_seconds"]["p50"] is not None
    paused = await api.patch("/v1/queues/default", json={"paused": True})
    assert paused.json()["paused"] is True
    document = (await api.get("/openapi.json")).json()
    assert "/v1/tasks/add/jobs" in document["paths"]
    assert (await api.post("/v1/tasks/add/jobs", json={"a": 1})).status_code == 202


async def key(app, secret, scopes, tenant=""):
    doc = json.dumps({"scopes": scopes, "tenant": tenant, "prefix": secret[:4]})
    await app.ledger.put("key", sha256(secret.encode()).hexdigest(), doc)
    return {"Authorization": f"Bearer {secret}"}


async def test_keys_open_only_what_their_scopes_say(api, app):
    reader = await key(app, "reader", ["read"])

    assert (await api.get("/v1/jobs")).status_code == 401
    assert (await api.get("/v1/jobs", headers={"Authorization": "Bearer x"})).status_code == 401
    assert (await api.get("/v1/jobs", headers=reader)).status_code == 200
    assert (await submit(api, headers=reader)).status_code == 403
    for way in WAYS:
        answer = await api.request(way.method, way.path.replace("{", "x").replace("}", "x"))
        assert answer.status_code == 401, way.path


async def test_a_tenant_sees_and_touches_only_its_own(api, app):
    a = await key(app, "key-a", ["submit", "read", "operate"], "a")
    b = await key(app, "key-b", ["submit", "read", "operate"], "b")
    job = (await submit(api, headers=a)).json()

    for path in ("", "/events", "/result", "/logs", "/artifacts/x"):
        assert (await api.get(job["links"]["self"] + path, headers=b)).status_code == 404
    for path in ("/cancel", "/retry"):
        assert (await api.post(job["links"]["self"] + path, headers=b)).status_code == 404
    assert (await api.get("/v1/jobs", headers=b)).json()["jobs"] == []
    assert (await api.get(job["links"]["self"], headers=a)).status_code == 200


async def test_a_name_that_was_rebound_to_this_machine_is_refused(api):
    assert (await api.get("/v1/jobs", headers={"Host": "evil.test"})).status_code == 400


def test_other_machines_are_not_served_without_keys():
    guard_exposure("127.0.0.1", has_keys=False)
    guard_exposure("0.0.0.0", has_keys=True)
    with pytest.raises(InvalidInputError, match="outlast keys create"):
        guard_exposure("0.0.0.0", has_keys=False)
