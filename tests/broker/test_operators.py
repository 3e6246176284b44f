"""What operators see of brokers: the doctor, the list of queues, and the metrics."""

import asyncio
import json
import signal

import httpx
import pytest
from click.testing import CliRunner

from outlast.api import create
from outlast.broker.relayed import publisher_of
from outlast.cli.commands import cli
from outlast.sdk.app import Outlast
from outlast.sdk.settings import Settings
from outlast.testing.redis import private_redis

SECRET = "hunter2"


@pytest.fixture
def ledger(tmp_path):
    url = f"sqlite:///{tmp_path}/outlast.db"
    assert CliRunner().invoke(cli, ["migrate", "--ledger", url]).exit_code == 0
    return url


def examine(ledger, broker, folder, *more):
    """Run the doctor; return what it says of brokers."""
    command = ["doctor", "--ledger", ledger, "--blobs", f"{folder}/blobs", "--json"]
    result = CliRunner().invoke(cli, [*command, "--broker", broker, *more])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    assert SECRET not in result.output
    return [check for check in report["checks"] if check["name"] == "broker"]


def test_the_doctor_finds_a_broker_well(ledger, tmp_path, redis_server):
    (check,) = examine(ledger, redis_server.url, tmp_path)

    assert check["ok"], check
    assert "kind redis" in check["detail"]


def test_the_doctor_finds_a_broker_that_is_away(ledger, tmp_path):
    with private_redis() as server:
        port = server.port
        server.stop(signal.SIGKILL)

        (check,) = examine(ledger, f"redis://:{SECRET}@127.0.0.1:{port}/0", tmp_path)

    assert not check["ok"]
    assert f"redis://127.0.0.1:{port}/0" in check["detail"]
    assert check["hint"]


async def test_the_doctor_tells_what_a_broker_warns_of(ledger, tmp_path, redis_house):
    await redis_house.ask("CONFIG", "SET", "maxmemory", "100mb")
    await redis_house.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        url = redis_house.server.url
        (check,) = await asyncio.to_thread(examine, ledger, url, tmp_path)
    finally:
        await redis_house.ask("CONFIG", "SET", "maxmemory", "0")
        await redis_house.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert not check["ok"]
    assert "allkeys-lru" in check["hint"]


async def test_queues_and_metrics_tell_the_kind_and_no_password(tmp_path):
    url = f"redis://ann:{SECRET}@127.0.0.1:1/0"
    app = Outlast()
    app.configure(
        Settings(ledger="memory://", blobs=str(tmp_path), queue_settings={"mail": {"broker": url}})
    )

    @app.task(queue="mail")
    async def send() -> None: ...

    asgi = create(app)
    async with (
        asgi.router.lifespan_context(asgi),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(asgi), base_url="http://localhost:8000"
        ) as client,
    ):
        await send.submit()
        async with asyncio.timeout(20):
            while next(iter(publisher_of(app.ledger).figures.values()))[1] == 0:
                await app.ledger.bell.wait(0.05)
        queue = (await client.get("/v1/queues/mail")).json()
        text = (await client.get("/metrics")).text

    assert queue["broker"] == "redis"
    label = 'broker="redis://ann@127.0.0.1:1/0"'
    assert f"outlast_broker_up{{{label}}} 0" in text
    assert f'outlast_broker_tickets_total{{{label},outcome="dropped"}} 1' in text
    assert SECRET not in text
