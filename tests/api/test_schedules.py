"""Schedules over HTTP: made, changed, paused, triggered, by those who may."""

import json
from hashlib import sha256

import pytest

from outlast.core.job import Filter, Page
from outlast.core.limits import DAY, HOUR
from outlast.core.schedule import Schedule, to_doc
from outlast.system import CLOCK, ENTROPY
from outlast.upkeep.loop import Upkeep

NIGHTLY = {"task": "add", "args": {"a": 1}, "cron": "0 3 * * *", "zone": "Europe/Berlin"}


async def put(api, name="nightly", headers=None, **spec):
    return await api.put(f"/v1/schedules/{name}", json={**NIGHTLY, **spec}, headers=headers or {})


async def jobs(app):
    return await app.ledger.find(Filter(), Page(oldest_first=True))


async def test_a_schedule_is_made_shown_listed_and_removed(api):
    made = await put(api, queue="slow", priority=7)

    assert (made.status_code, made.headers["location"]) == (201, "/v1/schedules/nightly")
    shown = await api.get("/v1/schedules/nightly")
    assert shown.json() == made.json()
    assert shown.json()["spec"] == {**NIGHTLY, "queue": "slow", "priority": 7}
    assert shown.json()["next_at"][11:] in {"01:00:00.000000Z", "02:00:00.000000Z"}
    assert [one["name"] for one in (await api.get("/v1/schedules")).json()["schedules"]] == [
        "nightly"
    ]
    assert (await api.delete("/v1/schedules/nightly")).status_code == 204
    assert (await api.get("/v1/schedules/nightly")).status_code == 404
    assert (await api.delete("/v1/schedules/nightly")).json()["code"] == "not-found"


@pytest.mark.parametrize(
    ("wrong", "path", "told"),
    [
        ({"cron": "61 3 * * *"}, "cron", "minute: expected 0–59"),
        ({"cron": "0 3 * *"}, "cron", "five fields"),
        ({"cron": "0 0 30 2 *"}, "cron", "day of month"),
        ({"cron": 5}, "cron", "plain characters"),
        ({"cron": None}, "cron", "one of cron and every"),
        ({"every": "5m"}, "cron", "one of cron and every"),
        ({"cron": None, "every": "5m"}, "zone", "none with every"),
        ({"cron": None, "zone": None, "every": "0.5s"}, "every", "seconds"),
        ({"zone": "Mars/Olympus"}, "zone", "IANA"),
        ({"zone": "../../etc/passwd"}, "zone", "IANA"),
        ({"zone": ["UTC"]}, "zone", "IANA"),
        ({"jitter": "2d"}, "jitter", "seconds"),
        ({"missed": "sometimes"}, "missed", "skip, once, all"),
        ({"missed": ["all"]}, "missed", "skip, once, all"),
        ({"missed_after": "soon"}, "missed_after", "90s"),
        ({"start_at": "tomorrow"}, "start_at", "RFC 3339"),
        ({"start_at": "9999-01-01T00:00:00Z"}, "start_at", "9000"),
        ({"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, "end_at", "after"),
        ({"task": "nope"}, "task", "registered task (add, fail)"),
        ({"args": {"a": "x"}}, "args.a", "integer"),
        ({"args": [1]}, "args", "object"),
        ({"priority": 101}, "priority", "100"),
        ({"delay": "5m"}, "delay", "no such field"),
        ({"colour": "red"}, "colour", "no such field"),
    ],
)
async def test_bad_input_names_its_field_and_makes_nothing(api, app, wrong, path, told):
    answer = await put(api, **wrong)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    messages = [e["message"] for e in answer.json()["errors"] if e["path"] == path]
    assert any(told in message for message in messages), answer.json()["errors"]
    assert await app.ledger.docs("schedule") == []


@pytest.mark.parametrize("name", ["a%20b", "x" * 101, "..%2e", "%F0%9F%95%90"])
async def test_a_name_that_no_address_can_have_is_refused(api, name):
    assert (await put(api, name)).status_code == 422
    assert (await api.get(f"/v1/schedules/{name}")).status_code == 404


async def test_who_has_read_an_older_version_changes_nothing(api):
    first = (await put(api)).headers["etag"]
    second = (await put(api, cron="0 4 * * *", headers={"If-Match": first})).headers["etag"]

    late = await put(api, cron="0 5 * * *", headers={"If-Match": first})
    anew = await put(api, headers={"If-None-Match": "*"})
    gone = await api.delete("/v1/schedules/nightly", headers={"If-Match": first})

    assert first != second
    assert [a.status_code for a in (late, anew, gone)] == [412, 412, 412]
    assert late.json()["code"] == "precondition-failed"
    shown = await api.get("/v1/schedules/nightly")
    assert (shown.json()["spec"]["cron"], shown.headers["etag"]) == ("0 4 * * *", second)


async def test_a_tick_does_not_change_the_version(api, app):
    made = await put(api, cron=None, zone=None, every="1h")
    upkeep = Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY)

    await upkeep.tick(CLOCK.now_us() + HOUR)

    shown = await api.get("/v1/schedules/nightly")
    assert shown.json()["last_job_id"] == (await jobs(app))[0].id
    assert shown.headers["etag"] == made.headers["etag"]


async def test_a_change_of_anything_but_the_time_keeps_the_next_tick(api, app):
    await put(api, cron=None, zone=None, every="1h")
    before = (await api.get("/v1/schedules/nightly")).json()["next_at"]

    same = (await put(api, cron=None, zone=None, every="1h", args={"a": 2})).json()
    other = (await put(api, cron=None, zone=None, every="30d")).json()

    assert (same["next_at"], other["next_at"] > before) == (before, True)


async def test_a_paused_schedule_has_no_tick_and_stays_paused_when_changed(api, app):
    await put(api)

    paused = await api.post("/v1/schedules/nightly/pause")
    changed = await put(api, cron="* * * * *")
    await Upkeep(app.ledger, clock=CLOCK, entropy=ENTROPY).tick(CLOCK.now_us() + DAY)

    assert (paused.json()["paused"], paused.json()["next_at"]) == (True, None)
    assert (changed.json()["paused"], await jobs(app)) == (True, [])
    resumed = (await api.post("/v1/schedules/nightly/resume")).json()
    assert (resumed["paused"], resumed["next_at"] is not None) == (False, True)


async def test_a_trigger_makes_one_job_now_for_each_key(api, app):
    await put(api, queue="tiny", tags=["x"])
    await api.post("/v1/schedules/nightly/pause")
    key = {"Idempotency-Key": "k"}

    first, second = [await api.post("/v1/schedules/nightly/trigger", headers=key) for _ in "12"]
    await api.post("/v1/schedules/nightly/trigger")
    full = await api.post("/v1/schedules/nightly/trigger")

    assert (first.status_code, first.json()["id"]) == (202, second.json()["id"])
    assert "idempotency-replayed" in second.headers
    assert first.json()["tags"] == ["x", "schedule:nightly"]
    assert (full.status_code, full.json()["code"]) == (503, "queue-full")
    assert len((await api.get("/v1/jobs?tag=schedule:nightly")).json()["jobs"]) == 2


async def test_a_preview_tells_the_ticks_by_both_clocks(api):
    await put(api, start_at="2026-10-24T00:00:00Z", jitter="10m")

    answer = await api.get("/v1/schedules/nightly/preview?n=3")

    ticks = answer.json()["ticks"]
    assert len(ticks) == 3
    assert all(tick["local"][11:19] == "03:00:00" for tick in ticks)
    assert all(tick["at"] <= tick["run_at"] for tick in ticks)
    assert (await api.get("/v1/schedules/nightly/preview?n=x")).status_code == 422
    assert (await api.get("/v1/schedules/nightly/preview?n=0")).status_code == 422


async def test_tenants_have_schedules_of_their_own(api, app):
    async def key(secret, tenant):
        doc = {"scopes": ["submit", "read", "operate"], "tenant": tenant, "prefix": secret}
        await app.ledger.put("key", sha256(secret.encode()).hexdigest(), json.dumps(doc))
        return {"Authorization": f"Bearer {secret}"}

    a, b, all_of_them = await key("a", "a"), await key("b", "b"), await key("boss", "")
    await put(api, headers=a)

    assert (await api.get("/v1/schedules/nightly", headers=b)).status_code == 404
    assert (await api.post("/v1/schedules/nightly/pause", headers=b)).status_code == 404
    assert (await put(api, headers=b)).status_code == 201
    assert len((await api.get("/v1/schedules", headers=a)).json()["schedules"]) == 1
    assert len((await api.get("/v1/schedules", headers=all_of_them)).json()["schedules"]) == 2
    path = "/v1/schedules/nightly/pause?tenant=a"
    assert (await api.post(path, headers=all_of_them)).json()["tenant"] == "a"
    made = (await api.post("/v1/schedules/nightly/trigger", headers=a)).json()
    assert (await api.get(made["links"]["self"], headers=b)).status_code == 404


async def test_scopes_say_who_may_do_what(api, app):
    doc = json.dumps({"scopes": ["read"], "tenant": "", "prefix": "r"})
    await app.ledger.put("key", sha256(b"r").hexdigest(), doc)
    reader = {"Authorization": "Bearer r"}

    assert (await api.get("/v1/schedules", headers=reader)).status_code == 200
    assert (await put(api, headers=reader)).status_code == 403
    for verb in ("pause", "resume", "trigger"):
        assert (await api.post(f"/v1/schedules/x/{verb}", headers=reader)).status_code == 403
    assert (await api.delete("/v1/schedules/x", headers=reader)).status_code == 403


async def test_a_record_that_nobody_can_read_is_listed_with_why_and_can_be_put_again(api, app):
    await app.ledger.put("schedule", "broken", "{")
    newer = to_doc(Schedule(name="newer", spec={}, job={})).replace('"format":1', '"format":2')
    await app.ledger.put("schedule", "newer", newer)

    listed = {one["name"]: one for one in (await api.get("/v1/schedules")).json()["schedules"]}

    assert "can't be read" in listed["broken"]["error"]["message"]
    assert "upgrade" in listed["newer"]["error"]["message"]
    assert (await put(api, "broken")).status_code == 200
    assert (await put(api, "newer")).status_code == 501


async def test_the_document_describes_every_field(api):
    document = (await api.get("/openapi.json")).json()

    put_one = document["paths"]["/v1/schedules/{name}"]["put"]
    fields = document["components"]["schemas"]["ScheduleSpec"]["properties"]
    assert {"200", "201"} <= put_one["responses"].keys()
    assert {"task", "args", "cron", "every", "zone", "missed", "queue", "tags"} <= fields.keys()
    assert not {"delay", "run_at", "idempotency_key"} & fields.keys()
