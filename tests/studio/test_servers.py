"""The mailing and the API client, against the real local servers."""

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
from slow_api import retry_after

from outlast.blobs import open_blobs
from outlast.ledger.memory import MemoryLedger
from tests.worker.rig import running

HEAD = "iata,name,city,state,country,latitude,longitude\n"


@pytest.fixture
def servers(samples, tmp_path, monkeypatch):
    command = [
        sys.executable,
        str(samples.parent / "servers.py"),
        "--folder",
        str(tmp_path / "servers"),
    ]
    command += ["--smtp-port", "0", "--api-port", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        _, smtp, api = process.stdout.readline().decode().split()
        monkeypatch.setenv("STUDIO_SMTP", smtp.removeprefix("smtp="))
        monkeypatch.setenv("STUDIO_API", api.removeprefix("api="))
        yield tmp_path / "servers"
        process.terminate()
        assert process.wait(timeout=10) == 0


@pytest.fixture
def recipients(tmp_path):
    path = tmp_path / "recipients.csv"
    rows = [f"A{number:03},Field {number},NA,NA,USA,0,0\n" for number in range(250)]
    path.write_text(HEAD + "".join(rows))
    return path


def mails(folder):
    return [json.loads(line) for line in (folder / "mail.jsonl").read_text().splitlines()]


async def test_each_recipient_gets_one_mail(run, servers, recipients):
    job = await run("mailing", recipients=str(recipients), subject="Timetable")

    result = job.result
    got = Counter(mail["to"][0] for mail in mails(servers))
    assert (result["sent"], result["chunks"], result["refused"]) == (250, 3, [])
    assert len(got) == 250
    assert set(got.values()) == {1}


async def test_after_a_crash_only_the_open_chunk_is_sent_again(t, run, servers, recipients):
    with t.crash_at("step:mails 101 to 200"):
        job = await run("mailing", recipients=str(recipients), subject="Timetable")

    assert job.result["sent"] == 250
    arrived = mails(servers)
    assert sum(mail["again"] for mail in arrived) == 100
    assert len({mail["message_id"] for mail in arrived}) == 250
    assert (servers / "mail.mbox").read_bytes().count(b"\nMessage-ID: ") == 250


@pytest.fixture
async def real_time(tmp_path):
    """Let a worker run the studio's jobs in real time, which the API's own clock goes by."""
    from app import app

    with app.using(MemoryLedger(), open_blobs(str(tmp_path / "blobs"))):
        async with running(app):
            yield app


async def test_the_client_waits_as_long_as_the_api_asks(real_time, tasks, servers):
    handle = await tasks["distances"].submit(origin="SEA", destinations=["JFK", "LAX", "ORD"] * 5)
    result = await handle.result(timeout=60)

    assert result["calls"] == 15
    assert result["waits"] >= 1
    assert result["farthest"]["destination"] == "JFK"
    assert result["farthest"]["km"] == pytest.approx(3890, rel=0.01)
    (file,) = await handle.artifacts()
    table = b"".join([chunk async for chunk in handle.open(file.name)])
    assert table.startswith(b"from,to,km\r\nSEA,LAX,")


async def test_an_unknown_airport_fails_the_job(run, servers):
    job = await run("distances", origin="SEA", destinations=["nowhere"])

    assert job.error["type"] == "HTTPStatusError"
    assert "404" in job.error["message"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("Tue, 24 Nov 2026 10:00:05 GMT", 5),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0),
        ("soon", 1),
        (None, 1),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, datetime(2026, 11, 24, 10, tzinfo=UTC)) == seconds
