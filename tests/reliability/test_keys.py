"""A key belongs to its tenant and to one request."""

import json
from hashlib import sha256

import pytest

from outlast.api import create
from outlast.core.job import Filter
from outlast.ledger.sqlite import insert
from tests.reliability import crash


async def key_of(app, tenant):
    doc = {"scopes": ["submit", "read"], "tenant": tenant, "prefix": tenant}
    await app.ledger.put("key", sha256(tenant.encode()).hexdigest(), json.dumps(doc))
    return {"authorization": f"Bearer {tenant}"}


async def two_tenants_and_two_requests(folder):
    """Send one idempotency key four times; return the answers and how many jobs there are."""
    app = crash.app_of(folder)
    asgi = create(app)
    async with asgi.router.lifespan_context(asgi):
        a, b = [await key_of(app, tenant) for tenant in ("a", "b")]
        told = [
            await crash.exchange(asgi, crash.body_of(witness), **credential)
            for credential, witness in ((a, "one"), (a, "two"), (b, "one"), (a, "one"))
        ]
        return told, (await app.ledger.count(Filter(), ""))[()]


@pytest.mark.fault("F17")
async def test_a_key_with_another_request_is_refused_and_of_another_tenant_another_key(tmp_path):
    told, jobs = await two_tenants_and_two_requests(tmp_path)

    (first, _, made), (second, _, refused), (third, _, theirs), (fourth, how, again) = told
    assert (first, second, third, fourth) == (202, 422, 202, 202)
    assert (refused["code"], refused["job_id"]) == ("idempotency-key-reused", made["id"])
    assert theirs["id"] != made["id"]
    assert (again["id"], how[b"idempotency-replayed"]) == (made["id"], b"true")
    assert jobs == 2


async def test_that_law_finds_keys_that_tenants_share(tmp_path, monkeypatch):
    real = insert.sql

    def shared(name):
        text = real(name)
        return text.replace(":tenant", "substr(:tenant, 1, 0)") if "key_" in name else text

    monkeypatch.setattr(insert, "sql", shared)

    told, jobs = await two_tenants_and_two_requests(tmp_path)
    assert (jobs, told[2][0]) == (1, 404)
