"""What one key may take of a process, and that no key or secret is told to anybody."""

import json
import logging
from hashlib import sha256

import pytest

from outlast.api import fair
from outlast.api.context import Context
from outlast.api.fair import HeldStream, Shares
from outlast.api.guard import ANYBODY, SCOPES, Caller
from outlast.core.errors import RateLimitedError
from outlast.core.limits import SECOND
from outlast.core.share import call_rate
from outlast.system import CLOCK

WHO = Caller("a", SCOPES, "k", call_rate("5/s"))
OTHER = Caller("b", SCOPES, "l", call_rate("5/s"))
SECRET = "ol_canary5ecret0123456789abcdef"


class Clock:
    def __init__(self):
        self.at = 0

    def elapsed_us(self):
        return self.at

    now_us = elapsed_us


async def key(app, secret, **said):
    doc = {"scopes": ["submit", "read"], "tenant": "", "prefix": secret[:4], **said}
    await app.ledger.put("key", sha256(secret.encode()).hexdigest(), json.dumps(doc))
    return {"Authorization": f"Bearer {secret}"}


def allowed(shares, who, calls):
    let = 0
    for _ in range(calls):
        try:
            shares.take(who)
        except RateLimitedError:
            continue
        let += 1
    return let


def test_a_key_is_held_to_its_rate_and_no_other_is():
    clock = Clock()
    shares = Shares(clock)

    assert allowed(shares, WHO, 50) == 5
    assert allowed(shares, OTHER, 3) == 3
    clock.at += SECOND
    assert allowed(shares, WHO, 50) == 5
    clock.at += SECOND // 5
    assert allowed(shares, WHO, 50) == 1
    clock.at += 3_600 * SECOND
    assert allowed(shares, WHO, 50) == 5
    assert allowed(shares, ANYBODY, 1_000) == 1_000


async def test_a_key_over_its_rate_is_told_when_to_try_again(api, app):
    headers = await key(app, "quick", rate="2/m")

    answers = [await api.get("/v1/jobs", headers=headers) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "rate-limited"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30


async def test_a_key_holds_so_many_open_and_no_more(api, app, monkeypatch):
    monkeypatch.setattr(fair, "HELD_MAX", 2)
    shares = Shares(CLOCK)

    async def nothing():
        yield b"x"

    with shares.holding(WHO):
        stream = HeldStream(shares, WHO, nothing())
        with pytest.raises(RateLimitedError), shares.holding(WHO):
            pass
        with shares.holding(OTHER):
            pass
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        await stream(scope, None, sent_to([]))
        with shares.holding(WHO):
            pass


def sent_to(sent):
    async def send(message):
        sent.append(message)

    return send


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/{}/events"])
async def test_each_stream_counts_as_held(api, app, monkeypatch, path):
    monkeypatch.setattr(fair, "HELD_MAX", 0)
    headers = await key(app, "reader")
    body = {"task": "add", "args": {"a": 1}}
    job = (await api.post("/v1/jobs", json=body, headers=headers)).json()
    place = path.format(job["id"])

    stream = await api.get(place, headers={**headers, "Accept": "text/event-stream"})
    held = await api.get(f"/v1/jobs/{job['id']}", headers={**headers, "Prefer": "wait=1"})
    list_ = await api.get(place, headers=headers)

    assert (stream.status_code, held.status_code, list_.status_code) == (429, 429, 200)


async def test_a_key_is_told_to_nobody(api, app, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    headers = await key(app, SECRET, scopes=["admin"])
    real = Context.job

    async def broken(self, job_id, who):
        if job_id == "broken":
            raise RuntimeError(job_id)
        return await real(self, job_id, who)

    monkeypatch.setattr(Context, "job", broken)
    told = []
    for path in (
        "/v1/jobs", "/v1/jobs/broken", "/v1/workers", "/v1/queues", "/v1/limits", "/v1/events",
        "/v1/nothing", "/metrics", "/openapi.json", "/", "/docs", "/readyz", "/static/app.js",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            answer = await api.request(method, path, headers=headers)
            told.append(answer.text + str(dict(answer.headers)))
    wrong = await api.get("/v1/jobs", headers={"Authorization": f"Basic {SECRET}"})
    veil = (await app.ledger.docs("secret"))[0].doc

    assert wrong.status_code == 401
    assert "broken failed" in caplog.text or "RuntimeError" in caplog.text
    for text in (*told, wrong.text, caplog.text):
        assert SECRET not in text
        assert sha256(SECRET.encode()).hexdigest() not in text
        assert veil not in text
