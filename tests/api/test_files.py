"""Files over HTTP: whole, in part, from a folder and from a bucket, and never a damaged one."""

import json
from hashlib import sha256
from urllib.parse import quote

import httpx
import pytest

from outlast.core.errors import InvalidInputError
from outlast.core.limits import BODY_BYTES_MAX
from outlast.core.payload import Stored
from outlast.testing.blob_laws import NASTY

UNKNOWN = "0192f0c1-2d3e-7f45-8a6b-7c8d9e0f1a2b"

DATA = bytes(range(256)) * 5_000
ETAG = f'"{sha256(DATA).hexdigest()}"'


@pytest.fixture
def at(app, request):
    """Where files lie: the parameter is `local` (the default) or `s3`."""
    if getattr(request, "param", "local") == "s3":
        app.configure(_elsewhere(app.settings, request.getfixturevalue("bucket")))


def _elsewhere(settings, blobs):
    from dataclasses import replace

    return replace(settings, blobs=blobs)


@pytest.fixture
def saved(app, api):
    """Put a file beside a fresh job, as a worker does; return its path in the API."""

    async def save(name="file.bin", data=DATA, **more):
        job = (await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}})).json()
        stored = await app.blobs.put(job["id"], data, name=name)
        entry = {
            "name": name, "size": stored.size, "sha256": stored.sha256,
            "media_type": "application/octet-stream", "blob": stored.key, **more,
        }  # fmt: skip
        await _note(app, job["id"], entry)
        return f"/v1/jobs/{job['id']}/artifacts/{quote(name, safe='')}"

    return save


async def _note(app, job_id, entry):
    from outlast.core.job import Transition
    from outlast.core.status import Status

    text = json.dumps(entry)
    change = Transition(job_id, Status.PENDING, None, None, "artifact", text, artifact=text)
    (verdict,) = await app.ledger.commit([change])
    assert verdict.accepted


@pytest.mark.parametrize("at", ["local", "s3"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1279990-", 1_279_990, 1_280_000),
        ("bytes=-5", 1_279_995, 1_280_000),
        ("bytes=0-99999999999", 0, 1_280_000),
        ("bytes=-99999999999", 0, 1_280_000),
    ],
)
async def test_a_part_is_what_was_asked_for(api, at, saved, asked, start, end):
    path = await saved()

    answer = await api.get(path, headers={"Range": asked}, params={"redirect": "no"})

    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-1", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=1", "x"],
)
async def test_what_is_no_single_range_gives_the_whole(api, saved, asked):
    answer = await api.get(await saved(), headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, DATA)


async def test_ten_thousand_ranges_cost_no_more_than_none(api, saved):
    asked = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))

    answer = await api.get(await saved(data=b"x"), headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, b"x")


@pytest.mark.parametrize("asked", ["bytes=1280000-", "bytes=9999999-99999999", "bytes=-0"])
async def test_a_part_beyond_the_end_is_refused_with_the_size(api, saved, asked):
    answer = await api.get(await saved(), headers={"Range": asked})

    assert (answer.status_code, answer.json()["code"]) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */1280000"


async def test_what_is_known_already_is_not_sent(api, saved):
    path = await saved()

    same = await api.get(path, headers={"If-None-Match": f'"x", {ETAG}'})
    other = await api.get(path, headers={"If-None-Match": '"x"'})
    part = await api.get(path, headers={"Range": "bytes=0-1", "If-Range": ETAG})
    changed = await api.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'})

    assert [a.status_code for a in (same, other, part, changed)] == [304, 200, 206, 200]
    assert same.headers["etag"] == other.headers["etag"] == ETAG


async def test_head_tells_everything_but_the_bytes(api, saved):
    path = await saved()

    answer = await api.head(path)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("name", [n for n in NASTY if n.isprintable() and n not in {"", ".", ".."}])
async def test_a_nasty_name_is_a_download_of_its_own_file(api, saved, name):
    path = await saved(name, b"mine")

    answer = await api.get(path)

    assert (answer.status_code, answer.content) == (200, b"mine")
    said = answer.headers["content-disposition"]
    assert said.startswith("attachment; filename*=utf-8''")
    assert not {"/", "\\", "\n"} & set(said.partition("''")[2])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["..%2f..%2fledger.db", "%2e%2e%2f%2e%2e%2fledger.db", "%00", "x"])
async def test_what_the_job_has_not_saved_is_not_found(api, saved, name):
    path = (await saved()).rpartition("/")[0]

    assert (await api.get(f"{path}/{name}")).status_code == 404


@pytest.mark.parametrize("at", ["s3"], indirect=True)
async def test_a_bucket_gives_the_bytes_itself(api, at, saved):
    path = await saved("a b/ü.bin")

    answer = await api.get(path)
    async with httpx.AsyncClient() as anybody:
        given = await anybody.get(answer.headers["location"], headers={"Range": "bytes=1-2"})

    assert (answer.status_code, answer.content) == (303, b"")
    assert (given.status_code, given.content) == (206, DATA[1:3])
    assert given.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%BC.bin"
    assert (await api.get(path, params={"redirect": "no"})).content == DATA


async def test_a_bucket_that_callers_cannot_reach_is_read_for_them(app, api, bucket, saved):
    app.configure(_elsewhere(app.settings, f"{bucket}&redirect=no"))

    assert (await api.get(await saved())).content == DATA


async def test_a_damaged_file_is_never_sent_whole(app, api, saved):
    small, large = await saved("s", b"small"), await saved("l")
    for path in app.settings.blobs and _files(app.settings.blobs):
        with path.open("r+b") as file:
            file.write(b"\xff")

    answers = [
        await api.get(small),
        await api.get(small, headers={"Range": "bytes=2-3"}),
        await api.get(large, headers={"Range": "bytes=2-3"}),
    ]
    with pytest.raises(Exception, match="damaged"):  # the connection breaks before the end
        await api.get(large)

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(500, "corrupt")] * 3


def _files(folder):
    from pathlib import Path

    return [path for path in Path(folder).rglob("*") if path.is_file()]


async def test_a_file_that_is_gone_says_so(app, api, saved):
    path = await saved()
    for file in _files(app.settings.blobs):
        file.unlink()

    for headers in ({}, {"Range": "bytes=0-1"}):
        answer = await api.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact-not-found")
        assert "--blobs" in answer.json()["detail"]


async def test_a_file_whose_time_is_over_is_gone(api, saved):
    path = await saved(expires_at="2020-01-01T00:00:00Z")

    answer = await api.get(path)
    job = (await api.get(path.partition("/artifacts")[0])).json()

    assert (answer.status_code, answer.json()["code"]) == (410, "artifact-expired")
    assert job["artifacts"] == []


async def test_a_job_lists_its_files_with_links(api, saved):
    path = await saved("a b.txt", b"x")

    (shown,) = (await api.get(path.partition("/artifacts")[0])).json()["artifacts"]

    assert shown["href"] == path
    assert "blob" not in shown
    assert (await api.get(shown["href"])).content == b"x"


async def test_forgetting_a_job_removes_its_files(app, api, saved):
    job = (await saved()).partition("/artifacts")[0]
    other = await saved()
    await api.post(f"{job}/cancel")

    assert (await api.delete(job)).status_code == 204

    assert len(_files(app.settings.blobs)) == 1
    assert (await api.get(other)).content == DATA


# Uploads ------------------------------------------------------------------------------------------


async def sent(api, value, **headers):
    return await api.post("/v1/blobs", content=json.dumps(value), headers=headers)


async def test_an_upload_takes_the_place_of_an_argument(api, worker):
    number = (await sent(api, 40)).json()
    whole = (await sent(api, {"a": 1, "b": 2})).json()
    wait = {"Prefer": "wait=10"}

    one = await api.post(
        "/v1/jobs", json={"task": "add", "args": {"a": {"$blob": number["blob"]}}}, headers=wait
    )
    all_ = await api.post(
        "/v1/jobs", json={"task": "add", "args": {"$blob": whole["blob"]}}, headers=wait
    )
    typed = await api.post("/v1/tasks/add/jobs", json={"$blob": whole["blob"]}, headers=wait)

    assert (number["size"], number["sha256"]) == (2, sha256(b"40").hexdigest())
    assert [answer.json()["result"] for answer in (one, all_, typed)] == [40, 3, 3]


async def test_a_body_over_the_limit_is_told_the_way(api):
    big = "x" * BODY_BYTES_MAX

    refused = await api.post("/v1/jobs", json={"task": "fail", "args": {"why": big}})
    blob = (await sent(api, big)).json()["blob"]
    made = await api.post("/v1/jobs", json={"task": "fail", "args": {"why": {"$blob": blob}}})

    assert (refused.status_code, made.status_code) == (413, 202)
    assert "POST /v1/blobs" in refused.json()["detail"]


@pytest.mark.parametrize("blob", ["x", "../x", 5, None, ["x"], UNKNOWN, ""])
async def test_an_upload_that_is_not_there_is_refused(api, blob):
    body = {"task": "add", "args": {"a": {"$blob": blob}}}

    one = await api.post("/v1/jobs", json=body)
    many = await api.post(
        "/v1/jobs/batch", json={"jobs": [body, {"task": "add", "args": {"a": 1}}]}
    )

    assert (one.status_code, one.json()["errors"][0]["path"]) == (422, "args.a")
    assert ["problem" in entry for entry in many.json()["jobs"]] == [True, False]


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"{", 400), (b'"\\u0000"', 400), (b"[" * 100 + b"]" * 100, 400), (b'"x"', 422)],
)
async def test_an_upload_is_checked_as_a_body_is(api, raw, status):
    blob = (await api.post("/v1/blobs", content=raw)).json()["blob"]

    answer = await api.post("/v1/jobs", json={"task": "add", "args": {"a": {"$blob": blob}}})

    assert answer.status_code == status


async def test_an_upload_over_the_limit_leaves_nothing(app, api):
    app.blobs.payload_max = 1_000

    async def chunks():
        for _ in range(5):
            yield b"x" * 300

    said = await api.post("/v1/blobs", content=b"x" * 1_001)
    streamed = await api.post("/v1/blobs", content=chunks())

    assert (said.status_code, streamed.status_code) == (413, 413)
    assert _files(app.settings.blobs) == []


async def test_an_upload_is_its_tenants_alone(app, api):
    keys = {}
    for tenant in ("a", "b"):
        doc = json.dumps({"scopes": ["submit", "read"], "tenant": tenant})
        await app.ledger.put("key", sha256(tenant.encode()).hexdigest(), doc)
        keys[tenant] = {"Authorization": f"Bearer {tenant}"}
    blob = (await sent(api, 1, **keys["a"])).json()["blob"]
    body = {"task": "add", "args": {"a": {"$blob": blob}}}

    mine = await api.post("/v1/jobs", json=body, headers=keys["a"])
    theirs = await api.post("/v1/jobs", json=body, headers=keys["b"])

    assert (mine.status_code, theirs.status_code) == (202, 422)


async def test_a_packed_upload_is_refused(api):
    answer = await sent(api, 1, **{"Content-Encoding": "gzip"})

    assert answer.status_code == 415


async def test_a_store_that_no_url_names_is_refused():
    from outlast.blobs import open_store

    for url in ("ftp://x", "s3://", "file://x", "az://container"):
        with pytest.raises(InvalidInputError, match="blobs"):
            open_store(url)
    assert Stored  # what a reference in a row is read as


# The planted bugs ---------------------------------------------------------------------------------


async def test_parts_that_nobody_vouches_for_are_caught(app, api, saved, monkeypatch):
    from outlast.blobs import Blobs

    async def trusting(self, stored):
        return None

    monkeypatch.setattr(Blobs, "vouch", trusting)

    with pytest.raises((AssertionError, ValueError)):
        await test_a_damaged_file_is_never_sent_whole(app, api, saved)


async def test_an_upload_for_everybody_is_caught(app, api, monkeypatch):
    from outlast.api import files

    real = files.from_json
    monkeypatch.setattr(files, "from_json", lambda text: {**real(text), "tenant": "b"})

    with pytest.raises(AssertionError):
        await test_an_upload_is_its_tenants_alone(app, api)
