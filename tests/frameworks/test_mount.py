"""The app object as a part of another web application, under a path of its own."""

import asyncio
import json
import re
from hashlib import sha256

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from outlast import Job, Outlast
from outlast.api import guard, server
from outlast.core.errors import CapabilityError, InvalidInputError
from outlast.sdk import web
from tests.worker.rig import DEADLINE_S, new_app, running

SECRET = "s3cret"
KEY = json.dumps({"scopes": ["submit", "read", "operate", "admin"], "tenant": ""})
NIGHTLY = {"task": "add", "args": {"a": 1, "b": 2}, "cron": "0 3 * * *"}
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def jobs(tmp_path):
    app = new_app(tmp_path)

    @app.task
    async def add(job: Job, a: int, b: int) -> int:
        await job.save("sum.txt", str(a + b).encode())
        return a + b

    @app.task
    async def echo(text: str) -> str:
        return text

    async with app:
        yield app


def fastapi(app):
    outer = FastAPI()
    outer.mount("/jobs", app)
    return outer


def starlette(app):
    return Starlette(routes=[Mount("/jobs", app)])


def twice(app):
    return Starlette(routes=[Mount("/in a", Starlette(routes=[Mount("/house", app)]))])


def client(outer, address="127.0.0.1", host="localhost"):
    transport = httpx.ASGITransport(outer, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize(
    ("frame", "at"), [(fastapi, "/jobs"), (starlette, "/jobs"), (twice, "/in%20a/house")]
)
async def test_every_address_that_a_mounted_app_names_is_one_where_it_answers(jobs, frame, at):
    async with client(frame(jobs)) as web, running(jobs):
        made = await web.post(f"{at}/v1/jobs", json={"task": "add", "args": {"a": 1, "b": 2}})
        typed = await web.post(f"{at}/v1/tasks/add/jobs", json={"a": 1, "b": 2})
        again = {"task": "add", "args": {"a": 1, "b": 2}, "idempotency_key": "k"}
        keyed = [await web.post(f"{at}/v1/jobs", json=again) for _ in range(2)]

        for answer in (made, typed, *keyed):
            job = answer.json()
            assert answer.headers["location"] == job["links"]["self"] == f"{at}/v1/jobs/{job['id']}"
            seen = await web.get(job["links"]["self"], headers={"Prefer": "wait=20"})
            assert seen.json()["result"] == 3
            stream = await web.get(job["links"]["events"], headers={"Accept": "text/event-stream"})
            assert "event: completed\n" in stream.text
        listed = (await web.get(f"{at}/v1/jobs")).json()["jobs"]
        assert all(one["links"]["self"].startswith(f"{at}/v1/") for one in listed)
        late = await web.post(made.json()["links"]["cancel"])
        assert late.status_code == 409


async def test_files_and_large_payloads_are_where_a_mounted_app_says(jobs):
    large = "x" * 100_000
    async with client(starlette(jobs)) as web, running(jobs):
        for task, args in (("add", {"a": 1, "b": 2}), ("echo", {"text": large})):
            made = await web.post("/jobs/v1/jobs", json={"task": task, "args": args})
            seen = await web.get(made.headers["location"], headers={"Prefer": "wait=20"})

            addresses = re.findall(r'"(/[^"]+)"', seen.text)
            assert len(addresses) >= 4
            for address in set(addresses) - {seen.json()["links"]["cancel"]}:
                assert (await web.get(address)).status_code == 200, address


async def test_a_schedule_of_a_mounted_app_tells_where_it_is(jobs):
    async with client(starlette(jobs)) as web:
        made = await web.put("/jobs/v1/schedules/nightly", json=NIGHTLY)

        links = made.json()["links"]
        assert made.headers["location"] == links["self"]
        assert [(await web.get(link)).status_code for link in links.values()] == [200, 200]


async def test_a_problem_names_the_address_that_was_asked(jobs):
    async with client(starlette(jobs)) as web:
        for path in ("/jobs/v1/jobs/none", "/jobs/nothing/here"):
            answer = await web.get(path)

            assert answer.status_code == 404
            assert answer.json()["instance"] == path


async def test_the_document_says_where_its_paths_begin(jobs):
    async with client(starlette(jobs)) as web, client(jobs) as alone:
        mounted = (await web.get("/jobs/openapi.json")).json()
        bare = (await alone.get("/openapi.json")).json()

    assert (mounted["servers"], bare["servers"]) == ([{"url": "/jobs"}], [{"url": "/"}])


async def test_all_that_the_mounted_pages_load_is_there(jobs):
    async with client(starlette(jobs)) as web:
        assert (await web.get("/jobs")).headers["location"].endswith("/jobs/")
        for page in ("/jobs/", "/jobs/docs"):
            answer = await web.get(page)
            assert answer.status_code == 200
            for name in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
                assert (await web.get(str(answer.url.join(name)))).status_code == 200, name

        assert 'src="static/app.js"' in (await web.get("/jobs/")).text
        assert 'src="static/docs.js"' in (await web.get("/jobs/docs")).text


async def test_an_app_under_its_own_root_is_not_changed_by_a_mount(jobs):
    async with client(starlette(jobs)) as web, client(jobs) as alone:
        await web.get("/jobs/v1/jobs")
        made = await alone.post("/v1/jobs", json={"task": "add", "args": {"a": 1, "b": 2}})

    assert made.headers["location"] == f"/v1/jobs/{made.json()['id']}"


FROM_ELSEWHERE = [
    ({"address": "203.0.113.9"}, {}),
    ({"address": "::ffff:203.0.113.9"}, {}),
    ({"address": "testclient"}, {}),
    ({}, {"X-Forwarded-For": "203.0.113.9"}),
    ({}, {"Forwarded": "for=203.0.113.9"}),
    ({}, {"Via": "1.1 proxy"}),
    ({}, {"X-Real-IP": "127.0.0.1"}),
]


@pytest.mark.parametrize(("place", "headers"), FROM_ELSEWHERE)
async def test_without_keys_a_mounted_app_answers_this_machine_only(jobs, place, headers):
    async with client(starlette(jobs), **place) as web:
        answer = await web.get("/jobs/v1/jobs", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "outlast keys create" in answer.json()["detail"]


async def test_a_page_whose_name_leads_here_is_refused_in_a_mount_too(jobs):
    async with client(starlette(jobs), host="evil.example") as web:
        answer = await web.get("/jobs/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (400, "misdirected-request")


async def test_a_request_from_an_unknown_place_is_refused(jobs):
    async def hidden(scope, receive, send):
        await jobs({**scope, "client": None}, receive, send)

    async with client(hidden) as web:
        assert (await web.get("/v1/jobs")).status_code == 401


async def test_with_keys_a_mounted_app_answers_whoever_has_one(jobs):
    await jobs.ledger.put("key", sha256(SECRET.encode()).hexdigest(), KEY)

    async with client(starlette(jobs), address="203.0.113.9", host="shop.example") as web:
        assert (await web.get("/jobs/v1/jobs")).status_code == 401
        assert (await web.get("/jobs/v1/jobs", headers=BEARER)).status_code == 200
    async with client(starlette(jobs)) as web:
        assert (await web.get("/jobs/v1/jobs")).status_code == 401


def _no_guard(_):
    pass


async def test_without_its_guard_a_mount_would_be_open_to_all(jobs, monkeypatch):
    monkeypatch.setattr(guard, "guard_near", _no_guard)

    async with client(starlette(jobs), address="203.0.113.9") as web:
        assert (await web.get("/jobs/v1/jobs")).status_code == 200


async def test_a_known_address_is_judged_when_the_server_starts(jobs):
    asgi = server.create(jobs, host="0.0.0.0")

    with pytest.raises(InvalidInputError, match="refusing to serve other machines"):
        async with asgi.router.lifespan_context(asgi):
            pass


class Stream:
    """A live stream, asked for as a web server asks, which says when it has begun."""

    def __init__(self, app, path):
        headers = [(b"host", b"localhost"), (b"accept", b"text/event-stream")]
        self.begun = asyncio.Event()
        self.over = False
        scope = {
            "type": "http", "method": "GET", "path": path, "root_path": "", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 4711), "server": ("localhost", 80),
        }  # fmt: skip
        self.done = asyncio.create_task(app(scope, asyncio.Event().wait, self._send))

    async def _send(self, message):
        if b"event: submitted" in message.get("body", b""):
            self.begun.set()
        self.over = message["type"] == "http.response.body" and not message.get("more_body")


async def test_a_mounted_app_opens_with_its_first_request_and_closes_with_those_who_wait(tmp_path):
    app = new_app(tmp_path)

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with asyncio.timeout(DEADLINE_S):
        async with client(starlette(app)) as web:
            made = await web.post("/jobs/v1/jobs", json={"task": "add", "args": {"a": 1, "b": 2}})
        stream = Stream(starlette(app), made.json()["links"]["events"])
        await stream.begun.wait()
        await app.close()
        await stream.done

    assert stream.over
    with pytest.raises(InvalidInputError, match="not open"):
        _ = app.ledger


async def test_a_closed_app_opens_again_with_the_next_request(jobs):
    async with client(starlette(jobs)) as web:
        assert (await web.get("/jobs/v1/jobs")).status_code == 200
        await jobs.close()

        assert (await web.get("/jobs/v1/jobs")).status_code == 200


async def test_without_the_web_libraries_the_error_says_what_to_install(monkeypatch):
    class Missing:
        def load(self):
            raise ModuleNotFoundError("No module named 'starlette'")

    monkeypatch.setattr(web, "entry_points", lambda **_: {"api": Missing()})

    with pytest.raises(CapabilityError, match=r"outlast\[api\]"):
        await Outlast()({"type": "http"}, None, None)
