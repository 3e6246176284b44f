"""Who gets in: by no trick of a path, from no foreign page, under no name that means something."""

import json
from hashlib import sha256

import httpx
import pytest

from outlast.api import create
from outlast.api.routes import WAYS
from outlast.core.job import NewJob
from outlast.system import new_id

NAMES = ["health", "healthz", "ready", "readyz", "metrics", "static", "docs", "openapi.json"]
TRICKS = [
    "/v1/jobs/{}", "/v1/queues/{}", "/v1/jobs/{}/events", "/v1/schedules/{}", "/v1/jobs/x/{}",
    "/v1/jobs/..%2f{}", "/v1/jobs/%2e%2e/{}", "//v1/jobs/{}", "/v1//jobs/{}", "/v1/jobs;{}",
    "/v1/jobs/{};x", "/v1/jobs/{}.", "/v1/jobs/{}/", "/v1/jobs/{}%00", "/{}/../v1/jobs",
    "/{}/v1/jobs", "/static/../v1/jobs?{}", "/v1/jobs?{}", "/v1/jobs%3f{}",
    "/v1/jobs/x/artifacts/{}",
]  # fmt: skip
PUBLIC = {"/healthz", "/readyz", "/", "/docs"}
NASTY = "\x1b[31mred\x1b[0m\r\nfake_metric 1\nINFO forged"


async def key(app, secret, scopes, tenant=""):
    doc = json.dumps({"scopes": scopes, "tenant": tenant, "prefix": secret[:4], "created_at": ""})
    await app.ledger.put("key", sha256(secret.encode()).hexdigest(), doc)
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("name", NAMES)
async def test_no_path_goes_around_the_key(api, app, name):
    await key(app, "root", ["admin"])
    async with httpx.AsyncClient(transport=api._transport, base_url="http://localhost") as client:
        for trick in TRICKS:
            url = httpx.URL("http://localhost").copy_with(raw_path=trick.format(name).encode())
            for method in ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS", "TRACE"):
                answer = await client.request(method, url)
                assert answer.status_code in {401, 404, 405}, (method, trick, answer.status_code)
                assert "jobs" not in answer.text or answer.status_code != 200


async def test_only_what_tells_nothing_is_open(api, app):
    await key(app, "root", ["admin"])
    asgi = create(app)
    paths = {route.path for route in asgi.routes}

    open_paths = {
        path for path in paths if (await api.get(path)).status_code not in {401, 404, 405}
    }

    assert paths >= {way.path for way in WAYS}
    assert open_paths == PUBLIC


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"},
        {"Host": "localhost.evil.test:8000"},
        {"Host": "127.0.0.1.evil.test"},
        {"Host": "evil.test:localhost"},
        {"Host": "user@localhost"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_a_foreign_page_reaches_no_open_server(api, method, headers):
    answer = await api.request(method, "/v1/jobs/x", headers=headers)

    assert answer.status_code in {400, 403}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://localhost:9", "localhost"])
async def test_a_foreign_origin_changes_nothing_on_an_open_server(api, method, origin):
    answer = await api.request(method, "/v1/jobs/x", headers={"Origin": origin})

    assert answer.status_code == 403


async def test_the_server_s_own_pages_and_programs_get_in(api):
    own = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    body = {"task": "add", "args": {"a": 1}}

    assert (await api.post("/v1/jobs", json=body, headers=own)).status_code == 202
    assert (await api.post("/v1/jobs", json=body)).status_code == 202
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]", "[::1]:8000"):
        assert (await api.get("/v1/jobs", headers={"Host": host})).status_code == 200


async def test_no_answer_lets_another_site_read_it(api):
    answer = await api.get("/v1/jobs", headers={"Origin": "http://evil.test"})

    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "set-cookie" not in answer.headers


async def test_names_break_no_line_of_the_metrics(api, app):
    nasty = [NewJob(id=new_id(), task="add", queue=NASTY), NewJob(id=new_id(), task=NASTY)]
    await app.ledger.insert(nasty)

    lines = (await api.get("/metrics")).text.split("\n")

    assert all(line.startswith(("outlast_", "# ")) for line in lines if line)
    assert not [line for line in lines if "\x1b" in line or "\r" in line]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/events", "/v1/dead-letters", "/v1/nothing"])
async def test_there_is_no_way_in_by_websocket(app, api, path):
    said = []
    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost")], "subprotocols": [], "scheme": "ws",
        "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        said.append(message["type"])

    await api._transport.app(scope, receive, send)

    assert said == ["websocket.close"]
