"""A tenant's key sees, touches and counts that tenant's things alone, on every way in.

What a tenant is answered beside a busy neighbour must be, word for word, what it is answered when
it is alone: so no ID, no name, no count, no position and no error can tell of the neighbour.
"""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from hashlib import sha256
from math import ceil

import httpx
import pytest
from starlette.requests import Request

from outlast import Job, Outlast
from outlast.api import create, events
from outlast.api.context import Context
from outlast.api.openapi import document
from outlast.api.routes import WAYS
from outlast.api.schemas import SCHEMAS
from outlast.core.job import Filter, Page, Want
from outlast.core.limits import LEASE_US
from outlast.sdk.limits import set_limit
from outlast.sdk.queues import change_queue
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY, new_id
from outlast.worker.config import PoolConfig
from outlast.worker.executors import Here
from outlast.worker.pool import Pool
from tests.api.leaks import LEAKS

NEIGHBOUR = "neighbour-7f3a"
SECRET = "canary-91cc"
ALL = ["submit", "read", "operate", "admin"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
MEASURED = re.compile(
    r'("(?:oldest_pending_seconds|oldest_seconds|p50|p95|rate|eta)":)[\d.e-]+'
    r"|(outlast_oldest_pending_seconds\S+) [\d.e-]+"
)
OPAQUE = re.compile(r'("position":\d+(?=,"seq"))|("next":"[^"]+")|("version":\d{9,})')
# What each way in lets a tenant have. A new one has to be thought about before it may be served.
POLICY = {
    "its own": {
        "GET /v1/jobs/{id}", "PATCH /v1/jobs/{id}", "DELETE /v1/jobs/{id}",
        "POST /v1/jobs/{id}/cancel", "POST /v1/jobs/{id}/retry", "GET /v1/jobs/{id}/events",
        "GET /v1/jobs/{id}/attempts", "GET /v1/jobs/{id}/logs", "GET /v1/jobs/{id}/result",
        "GET /v1/jobs/{id}/artifacts/{name:path}", "GET /v1/jobs/{id}/args",
        "GET /v1/schedules/{name}", "PUT /v1/schedules/{name}", "DELETE /v1/schedules/{name}",
        "POST /v1/schedules/{name}/pause", "POST /v1/schedules/{name}/resume",
        "POST /v1/schedules/{name}/trigger", "GET /v1/schedules/{name}/preview",
    },
    "those of its own that match": {
        "GET /v1/jobs", "POST /v1/jobs/cancel", "POST /v1/jobs/retry", "POST /v1/jobs/discard",
        "GET /v1/events", "GET /v1/dead-letters", "POST /v1/dead-letters/redrive",
        "POST /v1/dead-letters/discard", "GET /v1/schedules",
    },
    "what it does or has done there": {
        "GET /v1/queues", "GET /v1/queues/{q}", "GET /v1/queues/{q}/scaling", "GET /v1/workers",
        "GET /metrics",
    },
    "new things of its own": {
        "POST /v1/jobs", "POST /v1/jobs/batch", "POST /v1/tasks/{task}/jobs", "POST /v1/blobs",
    },
    "what everybody has": {"GET /v1/tasks"},
    "nothing": {
        "PATCH /v1/queues/{q}", "GET /v1/limits", "PUT /v1/limits/{subject:path}",
        "DELETE /v1/limits/{subject:path}",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _measured_anew(monkeypatch):
    """Let no figure be an older one: how old differs from run to run."""
    monkeypatch.setattr("outlast.api.overview._AGE_US", 0)
    monkeypatch.setattr("outlast.api.overview._SHARE", 0)


def make_app(folder):
    app = Outlast()

    @app.task
    async def work(job: Job, word: str) -> str:
        job.log(word)
        job.progress(1, 2, word)
        await job.save(f"{word}.txt", word.encode())
        return word

    @app.task(retries=0)
    async def fail(word: str) -> None:
        raise ValueError(word)

    app.configure(Settings(ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs"))
    return app


class Tenant:
    """One tenant's key, and what it has made under a name of its own."""

    def __init__(self, world, name):
        self.api, self.app, self.name = world.api, world.app, name
        self.word = SECRET if name == NEIGHBOUR else name
        self.headers = {"Authorization": f"Bearer key-{name}"}
        self.ids = {}

    async def settle(self):
        """Be known."""
        doc = json.dumps({"scopes": ALL, "tenant": self.name, "prefix": self.name})
        await self.app.ledger.put("key", sha256(f"key-{self.name}".encode()).hexdigest(), doc)

    async def ask(self, method, path, headers=(), **more):
        return await self.api.request(
            method, path, headers={**self.headers, **dict(headers)}, **more
        )

    async def submit(self, what, task="work", wait=False, key=None, **body):
        headers = {"Prefer": "wait=20"} if wait else {}
        headers |= {"Idempotency-Key": key} if key else {}
        body = {"task": task, "args": {"word": self.word}, "tags": [self.name], **body}
        answer = await self.ask("POST", "/v1/jobs", headers, json=body)
        assert answer.status_code in {200, 202}, answer.text
        self.ids[what] = answer.json()["id"]

    async def live(self):
        """Have one of everything: done, failed, running, waiting, for later, forgotten."""
        own = {"queue": f"{self.name}-queue", "concurrency_key": self.name}
        await self.submit("done", wait=True, key=self.name, unique={"by": ["word"]}, **own)
        await self.submit("failed", "fail", wait=True)
        await self.submit("discarded", "fail", wait=True, queue=own["queue"])
        discarded = {"ids": [self.ids["discarded"]], "reason": self.word}
        await self.ask("POST", "/v1/dead-letters/discard", json=discarded)
        await self.submit("running", queue=f"{self.name}-held")
        await self.app.ledger.claim(Want("held", (f"{self.name}-held",), 1))
        await self.submit("waiting", queue="idle")
        await self.submit("later", queue="idle", delay="1h")
        await self.submit("forgotten", queue="idle", delay="1h")
        await self.ask("POST", f"/v1/jobs/{self.ids['forgotten']}/cancel")
        assert (await self.ask("DELETE", f"/v1/jobs/{self.ids['forgotten']}")).status_code == 204
        spec = {"task": "work", "args": {"word": self.word}, "cron": "0 3 * * *", **own}
        made = await self.ask("PUT", f"/v1/schedules/{self.name}", json=spec)
        assert made.status_code == 201, made.text
        self.upload = await self.ask("POST", "/v1/blobs", content=json.dumps(self.word))
        self.upload = self.upload.json()["blob"]


class World:
    """A server with a worker, and an operator who looks after the queues of its tenants."""

    def __init__(self, app, api):
        self.app, self.api = app, api

    async def tenant(self, name):
        made = Tenant(self, name)
        await made.settle()
        return made

    async def work_for(self, *names):
        """Register workers: one for everybody, one that holds what it never finishes."""
        queues = ["default", *(f"{name}-queue" for name in names)]
        for worker, some in (("shared", queues), ("held", [f"{name}-held" for name in names])):
            doc = {
                "id": worker, "host": "h", "pid": 1, "queues": some, "concurrency": 4,
                "started_at": "2026-01-01T00:00:00Z", "version": "1",
            }  # fmt: skip
            await self.app.ledger.put("worker", worker, json.dumps(doc), ttl_us=LEASE_US)
        return Pool(
            self.app.ledger, self.app.blobs, Here(self.app.tasks),
            PoolConfig("shared", tuple(queues)), clock=CLOCK, entropy=ENTROPY,
        )  # fmt: skip


@asynccontextmanager
async def world(folder, *, neighbour):
    """Open a world in which tenant `a` lives, alone or beside a busy neighbour."""
    folder.mkdir()
    app = make_app(folder)
    asgi = create(app)
    async with (
        asgi.router.lifespan_context(asgi),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(asgi), base_url="http://localhost"
        ) as client,
    ):
        made = World(app, client)
        made.a = await made.tenant("a")
        made.b = await made.tenant(NEIGHBOUR)
        pool = await made.work_for("a", *([NEIGHBOUR] if neighbour else []))
        working = asyncio.create_task(pool.run())
        if neighbour:
            await made.b.live()
            for _ in range(3):
                await made.b.submit("before", queue="idle")
                await made.b.submit("finished", wait=True)
            await change_queue(app, f"{NEIGHBOUR}-queue", {"max_depth": 77})
            await set_limit(app.ledger, f"tenant:{NEIGHBOUR}", {"weight": 3})
        else:
            made.b.ids = {
                name: new_id() for name in ("done", "failed", "running", "waiting", "forgotten")
            }
            made.b.upload = new_id()
        await made.a.live()
        pool.drain()
        await working
        if neighbour:
            await made.b.submit("after", queue="idle", priority=9)
        yield made


def plain(text, own):
    """Leave out of an answer what differs from run to run."""
    names = {job_id: f"<{name}>" for name, job_id in own.items()}
    text = UUID.sub(lambda found: names.get(found[0], "<uuid>"), text)
    text = OPAQUE.sub("<opaque>", TIME.sub("<time>", text))
    return MEASURED.sub(r"\1\2<measured>", text)


def values_of(a, b):
    """Return, by the name of a parameter or field, what of the neighbour could stand in it."""
    ids = [b.ids[name] for name in ("done", "failed", "running", "waiting", "forgotten")]
    return {
        "id": ids, "ids": [[one] for one in ids] + [[a.ids["failed"], *ids]],
        "name": [b.name, f"{b.name}.txt"], "q": [b.name, f"{b.name}-queue", "default", ids[0]],
        "queue": [f"{b.name}-queue", "idle"], "task": ["work"], "tag": [b.name], "tags": [[b.name]],
        "tenant": [b.name], "subject": [f"tenant:{b.name}", "tenant:*"],
        "fingerprint": [b.name], "type": ["completed"], "after": [0],
        "concurrency_key": [b.name], "idempotency_key": [b.name],
        "args": [{"word": b.name}, {"word": 1}, {"$blob": b.upload}, {"word": {"$blob": b.upload}}],
        "unique": [{"by": ["word"], "on": "reject"}], "Idempotency-Key": [b.name],
        "group": ["error"], "submitted_after": ["2020-01-01T00:00:00Z"],
        "submitted_before": ["2100-01-01T00:00:00Z"], "limit": [500], "sort": ["submitted_at"],
        "paused": [True], "status": ["failed", "pending"], "reason": ["x"], "n": [1],
        "every": [3600], "jobs": [
            [{"task": "work", "args": {"word": {"$blob": b.upload}}}, {"task": "fail"},
             {"task": "work", "args": {"word": b.name}, "idempotency_key": b.name}],
        ],
    }  # fmt: skip


def paths_of(path, values):
    """Put each of the values into a path."""
    found = [path]
    for name in re.findall(r"\{(\w+)\}", path):
        found = [one.replace(f"{{{name}}}", value) for one in found for value in values[name]]
    return found


def bodies_of(operation, values):
    """Return bodies that name the neighbour's things, one field after the other, as allowed."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return [{}]
    schema = SCHEMAS.get(schema.get("$ref", "").rpartition("/")[2], {"properties": {"word": {}}})
    given = {"task": "work", "args": {"word": "a"}, "cron": "@daily"}
    known = schema.get("properties", {})
    needed = {name: given[name] for name in given if name in known}
    if "jobs" in known:
        needed = {}
    if "ids" in known or "submitted_after" in known:
        needed = {}
    if "every" in known:
        needed.pop("cron", None)
    if "args" in known:
        # Who works in a queue of the same name shares it, and is told what holds for it.
        values = {**values, "queue": ["idle"]}
    bodies = [needed] if needed else []
    for name in known:
        bodies += [{**needed, name: value} for value in values.get(name, ())]
    return [{"json": body} for body in bodies] or [{"json": {"word": "a"}}]


def requests_of(app, values):
    """Make, from the OpenAPI document, every request that names what could be the neighbour's."""
    for path, operations in document(app)["paths"].items():
        for method, operation in operations.items():
            queries = [{}] + [
                {parameter["name"]: value}
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
                for value in values.get(parameter["name"], ())
            ]
            for target in paths_of(path, values):
                for said in queries:
                    for body in bodies_of(operation, values):
                        yield method.upper(), target, {"params": said, **body}


async def answers(here):
    """Ask all that can be asked, as tenant a; give each answer by what was asked for."""
    a, b = here.a, here.b
    own = {**a.ids}
    own_paths = {
        way.path.replace("{id}", a.ids[name]).replace("{name:path}", "a.txt").replace("{name}", "a")
        .replace("{q}", queue)
        for way in WAYS if way.method == "GET"
        for name in a.ids for queue in ("default", "idle", "a-queue", f"{NEIGHBOUR}-queue", "x")
    }  # fmt: skip
    told = {}
    asked = [("GET", path, {}) for path in sorted(own_paths)]
    asked += requests_of(here.app, values_of(a, b))
    for n, (method, path, more) in enumerate(asked):
        answer = await a.ask(method, path, **more)
        what = f"{n} {method} {plain(path, own)}"
        heads = {k: v for k, v in answer.headers.items() if k not in {"content-length", "etag"}}
        told[what] = (answer.status_code, plain(json.dumps(heads), own), plain(answer.text, own))
        raw = answer.text + json.dumps(dict(answer.headers))
        asked_for = path + json.dumps(more, default=str)
        foreign = [one for one in b.ids.values() if one in raw and one not in asked_for]
        assert not foreign, (what, answer.text)
        assert SECRET not in raw, (what, answer.text)
    return told


async def everything_of(here):
    """Return all that the ledger has of the neighbour."""
    jobs = await here.app.ledger.find(Filter(tenant=NEIGHBOUR), Page(limit=500))
    schedules = [doc for doc in await here.app.ledger.docs("schedule") if NEIGHBOUR in doc.key]
    history = [await here.app.ledger.history(job.id) for job in jobs]
    return jobs, history, schedules, await here.app.ledger.docs("queue")


def differing(expected, got):
    """Return what was not answered as expected."""
    return [
        (what, expected.get(what), got.get(what))
        for what in {**expected, **got}
        if expected.get(what) != got.get(what)
    ]


async def alone(folder):
    """Return the answers to a tenant that has the server for itself."""
    async with world(folder, neighbour=False) as here:
        return await answers(here)


def test_every_way_in_has_a_policy_for_tenants():
    known = [way for ways in POLICY.values() for way in ways]

    assert sorted(known) == sorted(f"{way.method} {way.path}" for way in WAYS)


async def test_a_tenant_is_answered_as_if_it_were_alone(tmp_path):
    expected = await alone(tmp_path / "alone")
    async with world(tmp_path / "beside", neighbour=True) as here:
        before = await everything_of(here)
        got = await answers(here)
        after = await everything_of(here)

    assert len(got) > 350
    assert differing(expected, got) == []
    assert after == before


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
async def test_a_planted_leak_is_found(tmp_path, monkeypatch, leak):
    expected = await alone(tmp_path / "alone")
    leak(monkeypatch)

    async with world(tmp_path / "beside", neighbour=True) as here:
        with pytest.raises(AssertionError):
            assert differing(expected, await answers(here)) == []


async def test_numbers_of_the_whole_ledger_are_hidden_from_tenants(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        everything = await here.app.ledger.history(None)
        seen = (await here.a.ask("GET", "/v1/events")).json()["events"]
        listed = (await here.a.ask("GET", "/v1/jobs", params={"limit": 1})).json()
        on = {"limit": 1, "cursor": listed["next"]}
        rest = (await here.a.ask("GET", "/v1/jobs", params=on)).json()

        places = [event["position"] for event in seen]
        after = {"after": places[2]}
        resumed = (await here.a.ask("GET", "/v1/events", params=after)).json()["events"]

    assert not {event.position for event in everything} & set(places)
    assert places != sorted(places)
    assert resumed == seen[3:]
    assert rest["jobs"][0]["id"] != listed["jobs"][0]["id"]


async def test_a_stream_carries_the_events_of_its_tenant_alone(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        context = Context(here.app)
        await context.refresh()
        headers = [(b"accept", b"text/event-stream")]
        scope = {"type": "http", "method": "GET", "query_string": b"", "headers": headers}
        who = next(one for one in context.keys.values() if one.tenant == "a")
        response = await events.of_all(context, Request(scope), who)
        frames = response.body_iterator
        text = ""
        async with asyncio.timeout(10):
            while here.a.ids["later"] not in text:
                text += (await anext(frames)).decode()
        await frames.aclose()
        await context.watch.close()
        foreign = await here.a.ask(
            "GET", f"/v1/jobs/{here.b.ids['done']}/events", {"Accept": "text/event-stream"}
        )

    assert SECRET not in text
    assert not [one for one in here.b.ids.values() if one in text]
    assert foreign.status_code == 404


async def test_a_tenant_is_told_that_its_own_job_is_gone_and_nobody_else_is(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        gone = f"/v1/jobs/{here.a.ids['forgotten']}"

        own, foreign = await here.a.ask("GET", gone), await here.b.ask("GET", gone)

    assert (own.status_code, own.json()["code"]) == (410, "job-pruned")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "job-not-found")


async def test_the_same_bytes_of_two_tenants_are_two_files(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        here.a.word = SECRET
        made = [
            (await one.ask("POST", "/v1/blobs", json=SECRET)).json() for one in (here.a, here.b)
        ]
        foreign = {"task": "work", "args": {"word": {"$blob": made[1]["blob"]}}}
        refused = await here.a.ask("POST", "/v1/jobs", json=foreign)

    assert made[0]["sha256"] == made[1]["sha256"]
    assert made[0]["blob"] != made[1]["blob"]
    assert refused.status_code == 422


async def test_a_tenant_over_its_quota_is_told_when_to_try_again_and_no_other_is(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        await set_limit(here.app.ledger, "tenant:a", {"max_depth": 3})
        body = {"task": "work", "args": {"word": "a"}, "queue": "idle"}

        made = [await here.a.ask("POST", "/v1/jobs", json=body) for _ in range(3)]
        foreign = await here.b.ask("POST", "/v1/jobs", json=body)
        batch = {"jobs": [body], "atomic": True}
        refused = await here.a.ask("POST", "/v1/jobs/batch", json=batch)
        mixed = (await here.a.ask("POST", "/v1/jobs/batch", json={"jobs": [body]})).json()
        triggered = await here.a.ask("POST", "/v1/schedules/a/trigger")

    # One was waiting and one was scheduled before.
    assert [answer.status_code for answer in made] == [202, 429, 429]
    assert foreign.status_code == 202
    for answer in (made[1], refused, triggered):
        assert (answer.status_code, answer.json()["code"]) == (429, "quota-exceeded")
        assert int(answer.headers["retry-after"]) > 0
    assert mixed["jobs"][0]["problem"]["code"] == "quota-exceeded"


async def test_a_tenant_s_wait_is_measured_by_its_own_jobs(tmp_path):
    async with world(tmp_path / "w", neighbour=True) as here:
        await set_limit(here.app.ledger, "tenant:a", {"max_depth": 0})
        context = Context(here.app)
        await context.refresh()
        own = sum(one.completions for one in (await context.overviews.all("a")).values())
        await context.watch.close()
        await set_limit(here.app.ledger, "tenant:a", {"max_depth": 2})
        body = {"task": "work", "args": {"word": "a"}, "queue": "idle"}

        refused = await here.a.ask("POST", "/v1/jobs", json=body)

    assert own > 0
    assert refused.headers["retry-after"] == str(max(1, min(60, ceil(2 / 10 / own))))
