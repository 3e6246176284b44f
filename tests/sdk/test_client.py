"""The HTTP client against a server in a process of its own, over a line that can break."""

import asyncio
import json
import socket
import sys
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import httpx
import pytest

from outlast import Client
from outlast.core.errors import (
    CapabilityError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    KeyReusedError,
    NotFoundError,
    OutlastError,
    QueueFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    WaitTimeoutError,
)
from outlast.core.status import Status
from outlast.sdk.client import RemoteHandle
from outlast.sdk.http import Http, to_body
from outlast.system import CLOCK, new_id
from tests.cli.rig import served, started, using
from tests.sdk.wire import LOST, WHOLE, Wire

APP = """\
import asyncio
from datetime import date, timedelta

from outlast import Job, Outlast

app = Outlast()


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(retries=0)
async def boom(why: str) -> None:
    raise ValueError(why)


@app.task
async def count(job: Job, n: int, word: str = "") -> int:
    for i in range(n):
        job.log(f"line {i} {word}")
        await asyncio.sleep(0)
    await job.save("a b/sum #1.txt", str(n).encode())
    return n


@app.task
async def echo(words: str) -> str:
    return words


@app.task
async def endless(job: Job) -> None:
    await asyncio.Event().wait()


@app.task
async def later(day: date, by: timedelta) -> str:
    return str(day + by)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server with its worker for all tests; each test finds its own jobs by its own tag."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "app.py").write_text(APP, "utf-8")
    (folder / "outlast.yaml").write_text("queues: {tiny: {max_depth: 1, paused: true}}", "utf-8")
    options = ("--ledger", f"sqlite:///{folder}/outlast.db", "--blobs", folder / "files")
    options += ("--config", folder / "outlast.yaml", "--processes", "1")
    with started("dev", folder / "app.py", *options) as ready:
        yield ready["url"]


@pytest.fixture
async def client(server):
    async with Client(server) as made:
        yield made


@pytest.fixture
async def wire(server):
    async with Wire(server) as made:
        yield made


@pytest.fixture
async def far(wire):
    """A client at the other end of a line that can break."""
    async with Client(wire.url) as made:
        yield made


@pytest.fixture
def tag():
    return new_id()


async def jobs_of(client, tag):
    return (await client.call("GET", "/v1/jobs", query={"tag": tag}))["jobs"]


async def test_a_job_is_submitted_and_its_result_awaited(client):
    handle = await client.submit("add", {"a": 1, "b": 2}, priority=5)

    assert await handle.result(timeout=20) == 3
    status = await handle.status()
    assert (status.id, status.status, status.done) == (handle.id, Status.COMPLETED, True)
    assert (await handle.job())["priority"] == 5
    assert await client.handle(handle.id).result() == 3


async def test_a_short_job_is_one_round_trip(server):
    calls = []

    async def note(request):
        calls.append(request)

    async with (
        httpx.AsyncClient(event_hooks={"request": [note]}) as http,
        Client(server, http=http) as client,
    ):
        assert await client.run("add", {"a": 1, "b": 2}, timeout=20) == 3

    assert len(calls) == 1
    assert http.is_closed


async def test_what_json_lacks_goes_as_the_task_reads_it(client):
    at = datetime.now(UTC) + timedelta(hours=1)

    result = await client.run("later", {"day": date(2026, 11, 30), "by": timedelta(days=1)})
    handle = await client.submit("add", {"a": 1, "b": 2}, run_at=at, timeout=timedelta(minutes=5))

    assert result == "2026-12-01"
    assert (await handle.status()).status is Status.SCHEDULED
    with pytest.raises(InvalidInputError, match="JSON"):
        await client.submit("add", {"a": object()})


async def test_a_batch_answers_for_each_job_in_order(client):
    key = new_id()

    made = await client.submit_batch(
        [
            {"task": "add", "args": {"a": 1, "b": 2}, "key": key},
            {"task": "nope"},
            {"task": "add", "args": {"a": 1, "b": 2}, "key": key},
        ]
    )

    assert [type(one) for one in made] == [RemoteHandle, InvalidInputError, RemoteHandle]
    assert made[1].facts["errors"][0]["path"] == "task"
    assert made[0].id == made[2].id
    assert await made[0].result(timeout=20) == 3


async def test_an_atomic_batch_stores_all_or_none(client, tag):
    good = {"task": "add", "args": {"a": 1, "b": 2}, "tags": [tag], "delay": "1h"}

    with pytest.raises(InvalidInputError) as refused:
        await client.submit_batch([good, {"task": "nope"}], atomic=True)
    assert await jobs_of(client, tag) == []
    await client.submit_batch([good, good], atomic=True)

    assert [error["path"] for error in refused.value.facts["errors"]] == ["jobs.1.task"]
    assert len(await jobs_of(client, tag)) == 2


async def test_what_exceeds_one_request_is_sent_in_several(client):
    many = [{"task": "add", "args": {"a": n, "b": 0}, "delay": "1h"} for n in range(1_001)]
    heavy = [{"task": "boom", "args": {"why": "x" * 100_000}, "delay": "1h"} for _ in range(5)]

    made = await client.submit_batch([*many, *heavy])

    assert len({one.id for one in made}) == 1_006
    with pytest.raises(InvalidInputError, match="1006 jobs"):
        await client.submit_batch([*many, *heavy], atomic=True)
    with pytest.raises(TooLargeError):
        await client.submit_batch([{"task": "boom", "args": {}, "tags": ["x" * 300_000]}])


async def test_arguments_and_results_of_any_size_come_through(client, tag):
    words = "ü" * 300_000

    handle = await client.submit("echo", {"words": words}, tags=[tag], key=tag)
    again = await client.submit("echo", {"words": words}, tags=[tag], key=tag)
    (batched,) = await client.submit_batch([{"task": "echo", "args": {"words": words}}])

    assert await handle.result(timeout=20) == words
    assert (again.id, again.duplicate) == (handle.id, True)
    assert await batched.result(timeout=20) == words
    assert await client.run("echo", {"words": words}, timeout=20) == words
    job = await handle.job()
    assert (job["result"], job["args"]) == (None, None)
    assert await client.call("GET", job["links"]["args"]) == {"words": words}


async def test_events_are_the_history_live_whatever_characters_they_hold(client):
    word = "\u2028\x85\x0c\r 😀 \\n"
    handle = await client.submit("count", {"n": 3, "word": word})

    seen = [event async for event in handle.events()]

    assert seen == await handle.history()
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert [json.loads(event.data)["message"] for event in seen if event.type == "log"] == [
        f"line {n} {word}" for n in range(3)
    ]
    assert seen[-1].type == "completed"
    assert [event async for event in handle.events(after=seen[-1].seq)] == []
    assert [event async for event in handle.events(after=seen[1].seq)] == seen[2:]


async def test_a_cut_stream_goes_on_without_a_gap_or_a_repeat(client, wire, far):
    done = await client.submit("count", {"n": 20})
    await done.result(timeout=20)
    wire.plan.extend([700, 300, 900, LOST, 1_500])

    seen = [event async for event in far.handle(done.id).events()]

    assert seen == await done.history()
    assert wire.connections > 4


async def test_a_client_that_forgot_where_it_was_would_repeat_itself(client, wire):
    class Forgetful(Http):
        def frames(self, path, after):
            return super().frames(path, 0)

    done = await client.submit("count", {"n": 20})
    await done.result(timeout=20)
    wire.plan.append(1_500)
    http = Forgetful(wire.url, None, timeout_s=10, retry_for_s=10)

    seen = [event.seq async for event in RemoteHandle(http, done.id).events()]

    assert len(set(seen)) < len(seen)
    await http.close()


async def test_a_stream_that_stays_cut_is_told(wire, client):
    handle = await client.submit("endless")
    kinds = []

    async def follow(far):
        async for event in far.handle(handle.id).events():
            kinds.append(event.type)
            if event.type == "started":
                await wire.cut()

    async with Client(wire.url, retry_for=0.3) as far:
        with pytest.raises(UnavailableError):
            await follow(far)

    assert kinds == ["submitted", "started"]
    assert await handle.cancel(timeout=20) == "cancelled"


async def test_waiting_survives_a_cut_connection(client, wire, far):
    handle = await client.submit("endless")
    waiting = asyncio.create_task(far.handle(handle.id).result(timeout=20))
    wire.plan.extend([LOST, LOST])

    assert await handle.cancel(timeout=20) == "cancelled"

    with pytest.raises(JobCancelledError):
        await waiting


async def test_waiting_has_an_end_and_the_job_goes_on(client):
    handle = await client.submit("endless")

    with pytest.raises(WaitTimeoutError, match=handle.id):
        await handle.result(timeout=0.1)
    with pytest.raises(WaitTimeoutError):
        await client.run("endless", timeout=0.1, tags=["to-stop"], expires_in=30)

    assert not (await handle.status()).done
    assert await handle.cancel() in {"cancelling", "cancelled"}
    await client.call("POST", "/v1/jobs/cancel", body={"tag": "to-stop"})


async def test_a_failed_job_raises_what_it_raises_in_process(client):
    handle = await client.submit("boom", {"why": "why not"})
    said = "after 1 attempts: ValueError: why not"

    with pytest.raises(JobFailedError, match=said) as failed:
        await handle.result(timeout=20)
    with pytest.raises(JobFailedError, match=said):
        await client.run("boom", {"why": "why not"}, timeout=20)

    assert failed.value.facts["error"]["type"] == "ValueError"


async def test_cancelling_says_what_came_of_it(client):
    asleep = await client.submit("add", {"a": 1, "b": 2}, delay="1h")
    running = await client.submit("endless")
    done = await client.submit("add", {"a": 1, "b": 2})
    await done.result(timeout=20)

    assert await asleep.cancel() == "cancelled"
    assert await asleep.cancel() == "cancelled"
    assert await running.cancel(timeout=20) == "cancelled"
    assert await done.cancel() == "too-late"
    with pytest.raises(JobCancelledError, match=asleep.id):
        await asleep.result()


async def test_a_failed_job_runs_again_and_no_other(client):
    handle = await client.submit("boom", {"why": "again"})
    with pytest.raises(JobFailedError):
        await handle.result(timeout=20)

    await handle.retry()

    with pytest.raises(JobFailedError):
        await handle.result(timeout=20)
    types = [event.type async for event in handle.events()]
    assert [kind for kind in types if kind in {"failed", "redriven"}] == [
        "failed", "redriven", "failed",
    ]  # fmt: skip
    done = await client.submit("add", {"a": 1, "b": 2})
    await done.result(timeout=20)
    with pytest.raises(ConflictError):
        await done.retry()


async def test_a_job_can_run_again_with_other_arguments(client):
    handle = await client.submit("add", {"a": 1, "b": 2}, delay="1h")
    await handle.cancel()

    await handle.retry({"a": 2, "b": 2})

    assert await handle.result(timeout=20) == 4


UNKNOWN = "0192f0c1-2d3e-7f45-8a6b-7c8d9e0f1a2b"


@pytest.mark.parametrize("job_id", ["nope", "../tasks", "", "a b?c#d", UNKNOWN])
async def test_an_unknown_job_is_not_found(client, job_id):
    handle = client.handle(job_id)

    for call in (handle.status, handle.result, handle.cancel, handle.retry, handle.history):
        with pytest.raises(OutlastError) as error:
            await call()
        assert isinstance(error.value, NotFoundError) or not job_id
    with pytest.raises(OutlastError):
        await anext(handle.events())


async def test_errors_are_those_of_the_app_in_process_with_their_facts(client, tag):
    first = await client.submit("add", {"a": 1, "b": 2}, key=tag)

    with pytest.raises(InvalidInputError) as wrong:
        await client.submit("add", {"a": "x", "c": 1})
    with pytest.raises(KeyReusedError) as reused:
        await client.submit("add", {"a": 2, "b": 2}, key=tag)

    assert {error["path"] for error in wrong.value.facts["errors"]} >= {"args.a", "args.b"}
    assert reused.value.facts["job_id"] == first.id


async def test_a_key_gives_the_same_job_again(client):
    key = f"größe {new_id()}"

    first, again = [await client.submit("add", {"a": 1, "b": 2}, key=key) for _ in range(2)]

    assert first.id == again.id
    assert (first.duplicate, again.duplicate) == (False, True)


async def test_a_submit_whose_answer_was_lost_is_made_again_and_stored_once(wire, far, tag):
    wire.plan.extend([LOST, LOST, WHOLE])

    handle = await far.submit("add", {"a": 1, "b": 2}, tags=[tag])

    assert [job["id"] for job in await jobs_of(far, tag)] == [handle.id]
    assert wire.connections == 3
    assert not handle.duplicate


async def test_a_batch_whose_answer_was_lost_is_stored_once(wire, far, tag):
    wire.plan.append(LOST)

    made = await far.submit_batch([{"task": "add", "args": {"a": 1, "b": 2}, "tags": [tag]}] * 3)

    assert {job["id"] for job in await jobs_of(far, tag)} == {one.id for one in made}
    assert len({one.id for one in made}) == 3


async def test_without_its_own_key_the_same_loss_would_store_it_twice(wire, client, tag):
    wire.plan.append(LOST)
    keyless = Http(wire.url, None, timeout_s=10, retry_for_s=10)

    body = {"task": "add", "args": {"a": 1, "b": 2}, "tags": [tag]}
    await keyless.call("POST", "/v1/jobs", body=body, safe=True)

    assert len(await jobs_of(client, tag)) == 2
    await keyless.close()


async def test_what_may_act_twice_is_never_made_again(wire, client, far):
    handle = await client.submit("boom", {"why": "once"})
    with pytest.raises(JobFailedError):
        await handle.result(timeout=20)
    wire.plan.append(LOST)

    with pytest.raises(UnavailableError):
        await far.handle(handle.id).retry()

    types = [event.type async for event in handle.events()]
    assert types.count("redriven") == 1


async def test_a_full_queue_is_told_at_once_with_when_to_come_back(client):
    (filler,) = await client.submit_batch(
        [{"task": "add", "args": {"a": 1, "b": 2}, "queue": "tiny"}], atomic=True
    )

    with pytest.raises(QueueFullError) as full:
        await client.submit("add", {"a": 1, "b": 2}, queue="tiny")
    with pytest.raises(QueueFullError):  # it would have to wait for longer than it may
        await client.submit("add", {"a": 1, "b": 2}, queue="tiny", patience=0.5)

    assert full.value.facts["retry_after"] >= 1
    assert full.value.retryable
    await filler.cancel()


def answering(*answers):
    """A client of a server that gives these answers, and the requests that it got."""
    calls, left = [], list(answers)

    def answer(request):
        calls.append(request)
        status, headers = left.pop(0) if len(left) > 1 else left[0]
        code = {503: "queue-full", 429: "rate-limited"}.get(status, "")
        body = {"id": new_id(), "done": False, "code": code, "detail": "later", "retry_after": 0}
        return httpx.Response(status, json=body, headers=headers)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Client("http://far", http=http), calls


@pytest.mark.parametrize("status", [503, 429])
async def test_with_patience_a_refusal_is_waited_out_as_long_as_it_says(status):
    client, calls = answering(
        (status, {"Retry-After": "1"}), (status, {"Retry-After": "0"}), (202, {})
    )
    begun = CLOCK.elapsed_us()

    await client.submit("add", patience=30)

    assert CLOCK.elapsed_us() - begun >= 1_000_000
    keys = [json.loads(call.content)["idempotency_key"] for call in calls]
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_proxy_without_its_server_is_waited_out():
    calls = []

    def answer(request):
        calls.append(request)
        if len(calls) < 3:
            return httpx.Response(502, text="<h1>Bad gateway</h1>")
        return httpx.Response(202, json={"id": "x"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))

    assert (await Client("http://far", http=http).submit("add")).id == "x"


@pytest.mark.parametrize(("status", "text"), [(200, "<h1>hello</h1>"), (404, "nothing"), (200, "")])
async def test_what_is_no_outlast_server_is_told(status, text):
    http = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    )

    with pytest.raises(UnavailableError, match="check the URL"):
        await Client("http://far", http=http).submit("add")


async def test_a_server_that_is_not_there_is_told_in_time(wire):
    await wire.cut()

    async with Client(wire.url, retry_for=0.3) as client:
        with pytest.raises(UnavailableError, match="is the server running") as gone:
            await client.submit("add")
    assert isinstance(gone.value.__cause__, httpx.ConnectError)


async def test_a_silent_server_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        async with Client(url, timeout=0.2, retry_for=0) as client:
            with pytest.raises(UnavailableError, match="ReadTimeout"):
                await client.handle(new_id()).status()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x"])
def test_an_address_is_http(url):
    with pytest.raises(InvalidInputError, match="http://"):
        Client(url)


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(CapabilityError, match=r"outlast\[client\]"):
        Client("http://x")


async def test_a_file_is_downloaded_whole_or_not_at_all(client, wire, far, tmp_path):
    handle = await client.submit("count", {"n": 7})
    await handle.result(timeout=20)
    answer = len(to_body(await handle.job()))  # which comes first on the same connection
    wire.plan.append(answer + 400)  # in the middle of the file's head
    name = "a b/sum #1.txt"

    path = await handle.download(name, tmp_path / "sum.txt")
    with pytest.raises(UnavailableError):
        await far.handle(handle.id).download(name, tmp_path / "other.txt")
    with pytest.raises(NotFoundError, match="nope"):
        await handle.download("nope", tmp_path / "nope.txt")

    assert path.read_text() == "7"
    assert [file.name for file in tmp_path.iterdir()] == ["sum.txt"]


async def test_the_key_opens_what_its_scopes_allow(tmp_path):
    ledger = f"sqlite:///{tmp_path}/outlast.db"
    doc = json.dumps({"scopes": ["read"], "tenant": ""})

    async def make(opened):
        await opened.migrate()
        await opened.put("key", sha256(b"ol_read").hexdigest(), doc)

    await asyncio.to_thread(using, ledger, make)
    with served(ledger) as url:
        async with Client(url) as nobody, Client(url, key="ol_read") as reader:
            with pytest.raises(UnauthorizedError):
                await nobody.handle(new_id()).status()
            with pytest.raises(NotFoundError):
                await reader.handle(new_id()).status()
            with pytest.raises(ForbiddenError) as lacking:
                await reader.submit("add")
    assert lacking.value.facts["scope"] == "submit"
