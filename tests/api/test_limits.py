"""Limits over HTTP: set live, shown with where they come from, and refused by name."""

import json
from hashlib import sha256

from outlast.core.job import Want
from outlast.sdk.limits import declare


async def test_a_limit_is_set_listed_and_taken_away(app, api):
    put = await api.put(
        "/v1/limits/key:stripe", json={"concurrency": 2, "rate": "25/s", "burst": 5}
    )
    every = await api.put("/v1/limits/key:*", json={"concurrency": 1})
    listed = (await api.get("/v1/limits")).json()
    removed = await api.delete("/v1/limits/key:stripe")

    told = {
        "subject": "key:stripe",
        "concurrency": 2,
        "rate": "25/s",
        "burst": 5,
        "weight": None,
        "max_depth": None,
    }
    assert (put.status_code, put.json()) == (200, {**told, "source": "live"})
    assert every.json()["concurrency"] == 1
    assert [limit["subject"] for limit in listed["limits"]] == ["key:*", "key:stripe"]
    assert removed.status_code == 204
    assert [doc.key for doc in await app.ledger.docs("limit")] == ["key:*"]


async def test_what_a_limit_can_not_be_is_refused_by_name(app, api):
    body = {"concurrency": -1, "rate": "fast", "weight": 0, "colour": 1}
    wrong = await api.put("/v1/limits/key:a", json=body)
    queue = await api.put("/v1/limits/queue:slow", json={"concurrency": 1})
    lonely = await api.put("/v1/limits/task:t", json={"burst": 3})

    assert wrong.status_code == queue.status_code == lonely.status_code == 422
    paths = {error["path"] for error in wrong.json()["errors"]}
    assert paths == {"concurrency", "rate", "weight", "colour"}
    assert "PATCH /v1/queues" in queue.json()["detail"]
    assert lonely.json()["errors"][0]["path"] == "burst"
    assert await app.ledger.docs("limit") == []


async def test_a_tenant_s_key_neither_sees_nor_sets_limits(app, api):
    doc = json.dumps({"scopes": ["read", "operate"], "tenant": "acme", "prefix": "s"})
    await app.ledger.put("key", sha256(b"secret").hexdigest(), doc)
    headers = {"Authorization": "Bearer secret"}

    for answer in (
        await api.get("/v1/limits", headers=headers),
        await api.put("/v1/limits/key:a", json={"concurrency": 1}, headers=headers),
        await api.delete("/v1/limits/key:a", headers=headers),
    ):
        assert answer.status_code == 403


async def test_a_queue_s_settings_limit_it_at_once(app, api):
    await app.ledger.put("worker", "w", "{}", ttl_us=60_000_000)
    for _ in range(4):
        await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}, "queue": "slow"})
    await api.patch("/v1/queues/slow", json={"concurrency": 1})
    assert len(await app.ledger.claim(Want("w", ("slow",), 9))) == 1

    await api.patch("/v1/queues/slow", json={"concurrency": None, "rate_limit": "2/h"})

    leases = await app.ledger.claim(Want("w", ("slow",), 9))
    assert len(leases) == 1
    assert leases.again_us > 1_000_000_000


async def test_what_the_code_declares_holds_until_something_is_set_live(app, api):
    @app.task(concurrency=3, rate="5/s")
    async def bounded() -> None: ...

    try:
        await declare(app)
        (told,) = (await api.get("/v1/limits")).json()["limits"]
        await api.put("/v1/limits/task:bounded", json={"concurrency": 9})
        (live,) = (await api.get("/v1/limits")).json()["limits"]
    finally:
        app._tasks.pop("bounded")
    await declare(app)

    assert (told["subject"], told["concurrency"], told["rate"]) == ("task:bounded", 3, "5/s")
    assert (told["source"], live["source"], live["concurrency"]) == ("declared", "live", 9)
