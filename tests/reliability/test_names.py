"""A hostile name is refused with its reason, or comes back as it was, whichever way one looks."""

import json
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner

from outlast.cli.commands import cli
from outlast.core.errors import InvalidInputError
from outlast.core.limits import NAME_CHARS_MAX
from outlast.sdk.context import Job
from tests.cli.rig import served
from tests.worker.rig import DEADLINE_S, new_app, running

NAMES = {
    "right to left": "\u202egnp.exe",
    "isolated": "\u2066x\u2069",
    "ten kilobytes": "x" * 10_240,
    "the longest": "x" * NAME_CHARS_MAX,
    "upwards": "../../etc/passwd",
    "percent": "%2e%2e%2f%00%s%n",
    "line breaks": "a\r\nSet-Cookie: b=c",
    "a lone break": "a\nb",
    "emoji": "👩‍👩‍👧‍👦 ok 🇪🇺",
    "combined": "e\u0301",
    "NUL": "a\x00b",
    "escape": "\x1b[31mred\x1b[0m",
    "markup": "<script>alert(1)</script>",
    "quotes": "a'b\"c`d;--",
    "a slash": "/",
    "dots": "..",
    "space": " ",
    "nothing": "",
    "LIKE": "%_%",
    "surrogate": "\ud800",
}


def asked(field, name):
    """Return a submit that carries a name in one place."""
    body = {"task": "add", "args": {"a": 1}}
    return body | {"task": {"task": name}, "queue": {"queue": name}, "tag": {"tags": [name]}}[field]


def shown(field, job):
    return job["tags"][0] if field == "tag" else job[field]


@pytest.fixture
def server(tmp_path):
    app = new_app(tmp_path)
    for task in ("add", *(n for n in NAMES.values() if 0 < len(n) <= 200 and n.isprintable())):

        @app.task(name=task)
        async def add(a: int) -> int:
            return a

    with served(app) as url, httpx.Client(base_url=url) as client:
        yield client, f"sqlite:///{tmp_path}/outlast.db"


@pytest.mark.fault("F52")
@pytest.mark.parametrize("field", ["task", "queue", "tag"])
def test_a_hostile_name_is_refused_or_comes_back_as_it_was(server, field):
    client, ledger = server
    accepted = 0
    for what, name in NAMES.items():
        body = json.dumps(asked(field, name)).encode()
        answer = client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        if answer.status_code in {400, 404, 422}:
            assert answer.json()["detail"], what
            continue
        assert answer.status_code == 202, (what, answer.text)
        accepted += 1
        job = client.get(f"/v1/jobs/{answer.json()['id']}").json()
        assert shown(field, job) == name, what
        told = CliRunner().invoke(cli, ["show", job["id"], "--json", "--ledger", ledger])
        assert told.exit_code == 0, (what, told.output)
        assert shown(field, json.loads(told.stdout)) == name, what
        if field == "queue":
            listed = client.get("/v1/jobs", params={"queue": name}).json()
            assert [one["id"] for one in listed["jobs"]] == [job["id"]], what
    assert accepted >= 3
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/queues").status_code == 200
    assert client.get("/metrics").status_code == 200


@pytest.mark.fault("F52")
def test_a_hostile_key_is_refused_or_is_one_key(server):
    client, _ = server
    for what, name in NAMES.items():
        key = name.encode("utf-8", "surrogatepass")
        if key != key.strip() or any(byte < 32 or byte == 127 for byte in key):
            continue  # HTTP itself can't carry it
        headers = {b"content-type": b"application/json", b"idempotency-key": key}
        body = json.dumps({"task": "add", "args": {"a": 1}}).encode()
        first, again = (client.post("/v1/jobs", content=body, headers=headers) for _ in range(2))
        if first.status_code in {400, 422}:
            assert first.json()["detail"], what
            continue
        assert first.status_code == 202, (what, first.text)
        assert again.headers["idempotency-replayed"] == "true", what
        assert first.json()["id"] == again.json()["id"], what


@pytest.mark.fault("F52")
async def test_a_hostile_artifact_name_is_refused_or_leads_to_its_bytes(tmp_path):
    app = new_app(tmp_path / "inside")
    (tmp_path / "inside").mkdir()

    @app.task(retries=0)
    async def keep(job: Job, names: list[str]) -> list[str]:
        kept = []
        for n, name in enumerate(names):
            try:
                await job.save(name, f"bytes {n}".encode())
            except InvalidInputError:
                continue
            kept.append(name)
        return kept

    names = [name for name in NAMES.values() if name != NAMES["surrogate"]]  # no JSON has it
    async with app:
        handle = await keep.submit(names=names)
        async with running(app):
            kept = await handle.result(DEADLINE_S)
        assert "../../etc/passwd" in kept
        with served(app) as url:
            async with httpx.AsyncClient(base_url=url) as client:
                for name in kept:
                    where = f"/v1/jobs/{handle.id}/artifacts/{quote(name, safe='')}"
                    answer = await client.get(where)
                    assert answer.content == f"bytes {names.index(name)}".encode(), name
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    assert "set-cookie" not in answer.headers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside"]
