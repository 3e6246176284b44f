"""Whatever is sent is answered, and never by a fault of the server.

`make fuzz` sends a hundred thousand requests to real processes; here it is some hundreds.
"""

import json

import pytest

from outlast.api import submit
from outlast.api.openapi import document
from outlast.api.schemas import SCHEMAS
from outlast.sdk.settings import Settings
from tests.api.conftest import make_app
from tests.api.fuzz import Fuzz, open_keys
from tests.cli.rig import served

# Of every kind that JSON has, and a text that UTF-8 can't carry.
ODD = [None, True, -1, 10**30, 1.5, "", "x", "1" * 300, [], [None], [[]], {}, {"": None}, "\ud800"]
NEEDED = {"task": "add", "args": {"a": 1}, "cron": "@daily"}


def odd_bodies(app):
    """Make, of every operation that takes JSON, bodies with one odd value, or one odd body."""
    for path, operations in document(app)["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" not in content:
                continue
            name = content["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
            known = SCHEMAS.get(name, {}).get("properties", {"a": {}, "b": {}})
            needed = {field: NEEDED[field] for field in known if field in NEEDED}
            yield from ((method, path, value) for value in ODD)
            for field in known:
                for value in ODD:
                    yield method, path, {**needed, field: value}
                    if "jobs" in known:
                        yield method, path, {"jobs": [{"task": "add", "args": value}, value]}


async def faults_of(api, app):
    made = (await api.post("/v1/jobs", json={"task": "add", "args": {"a": 1}, "delay": 99})).json()
    found, count = [], 0
    for method, path, body in odd_bodies(app):
        place = path.replace("{id}", made["id"]).replace("{q}", "odd").replace("{name}", "odd")
        # With the header, too: it is compared with what the body says.
        for more in ({}, {"Idempotency-Key": "k"}):
            answer = await api.request(
                method, place, content=json.dumps(body),
                headers={"Content-Type": "application/json", **more},
            )  # fmt: skip
            count += 1
            if answer.status_code >= 500 and answer.json()["code"] != "queue-full":
                found.append((method, path, body, answer.text))
    assert count > 1_000
    return found


async def test_no_odd_value_in_any_field_is_a_fault_of_the_server(api, app):
    assert await faults_of(api, app) == []


async def test_a_planted_fault_is_found(api, app, monkeypatch):
    real = submit.build

    def careless(context, body, who, header):
        hash(body["task"])  # as every set and every cache does
        return real(context, body, who, header)

    monkeypatch.setattr(submit, "build", careless)

    assert await faults_of(api, app) != []


@pytest.fixture
def url(tmp_path):
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    open_keys(ledger)
    app = make_app()
    app.configure(Settings(ledger=ledger, blobs=f"{tmp_path}/blobs"))
    with served(app) as there:
        yield there


def test_requests_that_are_allowed_or_forbidden_are_answered_in_kind(url):
    done = Fuzz(url, most=250, dice=7, per_turn=2).run()

    assert done.faults == []
    assert done.count == 250
    assert len(done.operations) > 10
    assert {404, 422} <= set(done.sent)
