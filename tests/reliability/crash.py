"""After a crash: the client comes again with its key, a new fleet works, and all must be right."""

import asyncio
import json
from functools import partial
from pathlib import Path

import apsw

from outlast.api import create
from outlast.core.fold import fold, of_row
from outlast.core.job import Filter, Page
from outlast.core.payload import stored_of
from outlast.sdk.app import Outlast
from tests.reliability import crash_jobs
from tests.worker.rig import running, until

KEY = "user-1:report:2026-11"
HEADERS = {
    b"host": b"localhost:8000",
    b"content-type": b"application/json",
    b"idempotency-key": KEY.encode(),
}


def app_of(folder):
    """Make the app of a folder's ledger, with the tasks of `crash_jobs`."""
    app = Outlast(ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs")
    app._tasks = crash_jobs.app._tasks
    return app


def body_of(witness):
    return json.dumps({"task": "life", "args": {"witness": str(witness)}}).encode()


async def submit(asgi, body):
    """Submit over the API, with the key; return the status and the answer."""
    status, _, answer = await exchange(asgi, body)
    return status, answer


async def exchange(asgi, body, **more):
    """Submit over the API, with the key; return the status, the headers and the answer."""
    status, headers, text = await _ask(asgi, "POST", "/v1/jobs", body, **more)
    return status, headers, json.loads(text)


async def get(asgi, path):
    """Fetch something; return the status and the body."""
    status, _, text = await _ask(asgi, "GET", path, b"")
    return status, text


async def _ask(asgi, method, path, body, **more):
    told, asked = [], []
    headers = {**HEADERS, b"content-length": str(len(body)).encode()}
    headers |= {name.encode(): value.encode() for name, value in more.items()}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": list(headers.items()), "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }  # fmt: skip

    async def receive():
        if asked:
            await asyncio.Event().wait()  # the client stays until it has its answer
        asked.append(True)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        told.append(message)

    await asgi(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in told[1:])
    return told[0]["status"], dict(told[0]["headers"]), text


async def live(app, witness, told=lambda _: None):
    """Submit the job with its key and work until it has ended; tell of each acknowledgement."""
    asgi = create(app)
    async with asgi.router.lifespan_context(asgi):
        status, answer = await submit(asgi, body_of(witness))
        assert status == 202, answer
        told(answer["id"])
        async with running(app, concurrency=1):
            await until(app.ledger, lambda: ended(app.ledger, answer["id"]))
    return answer["id"]


async def ended(ledger, job_id):
    (job,) = await ledger.get([job_id])
    return job is not None and job.status.terminal


async def wrong_after(folder, witness, acknowledged, others=()):
    """Recover as a user would, and return what is wrong then; nothing, if all is well.

    `acknowledged` has the jobs with the key that a client was told of before the crash, `others`
    those without one.
    """
    app = app_of(folder)
    found = await wrong_before_recovery(app, [*acknowledged, *others])
    async with app:
        # What the death watch does when it finds a dead worker's lock free.
        holders = [doc.key for doc in await app.ledger.docs("worker")]
        await app.ledger.extend(holders, 0)
        asgi = create(app)
        async with asgi.router.lifespan_context(asgi):
            status, answer = await submit(asgi, body_of(witness))
            if status not in {200, 202}:
                return [*found, f"the client's retry was answered with {status}: {answer}"]
            async with running(app, concurrency=1):
                for job_id in [answer["id"], *others]:
                    await until(app.ledger, partial(ended, app.ledger, job_id))
            found += await wrong(app, answer["id"], crash_jobs.seen(witness))
    if set(acknowledged) - {answer["id"]}:
        found.append(f"acknowledged {acknowledged}, but the key leads to {answer['id']}")
    return found + damage(Path(folder) / "ledger.db")


async def wrong_before_recovery(app, acknowledged):
    """Look at what the crash left, before anybody mends it."""
    async with app:
        there = await app.ledger.get(acknowledged) if acknowledged else []
        found = [f"acknowledged and lost: {acknowledged}"] if None in there else []
        for job in await app.ledger.find(Filter(), Page(limit=10)):
            found += told_badly(await app.ledger.history(job.id), job)
        return found


def told_badly(events, job):
    """Say where a history has a gap, or does not explain its row."""
    found = []
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        found.append(f"{job.id}: numbered {[event.seq for event in events]}")
    if fold(events) != of_row(job):
        found.append(f"{job.id}: {fold(events)} by its history, {of_row(job)} by its row")
    return found


async def wrong(app, job_id, effects):
    """Judge the whole life of the job, and the effects that the witness saw."""
    jobs = await app.ledger.find(Filter(task="life"), Page(limit=10))
    found = [f"one key, {len(jobs)} jobs"] if len(jobs) != 1 else []
    (job,) = await app.ledger.get([job_id])
    events = await app.ledger.history(job_id, limit=1_000)
    found += told_badly(events, job)
    kinds = [event.type for event in events]
    if kinds.count("completed") != 1 or kinds[-1] != "completed":
        found.append(f"it should end once, as completed, and last: {kinds}")
    started, kept = data_of(events, "started"), data_of(events, "step")
    attempts = [item["attempt"] for item in started]
    if attempts != list(range(1, len(attempts) + 1)) or len(attempts) > job.max_attempts:
        found.append(f"attempts {attempts} of at most {job.max_attempts}")
    steps = {item["name"]: item["result"] for item in kept}
    if sorted(steps) != ["one", "two"] or len(kept) != 2:
        found.append(f"each step should be recorded once: {kept}")
    if json.loads(job.result or "null") != steps:
        found.append(f"the result is {job.result}, but the steps said {steps}")
    found += unexplained(effects, steps, {item["token"] for item in started})
    async with asyncio.timeout(10):
        entries = json.loads(job.artifacts)
        if [await app.blobs.load(stored_of(entry)) for entry in entries] != [crash_jobs.REPORT]:
            found.append(f"the report is not what was saved: {entries}")
    return found


def data_of(events, kind):
    return [json.loads(event.data) for event in events if event.type == kind]


def unexplained(effects, steps, tokens):
    """Say which effects no lease explains: each claim acts once, none after its step was kept."""
    found = []
    for name, kept in steps.items():
        by = [token for step, token in effects if step == name]
        if len(set(by)) != len(by) or kept not in by or max(by, default=0) > kept:
            found.append(f"step {name} was kept under token {kept}, but acted under {by}")
        if not tokens.issuperset(by):
            found.append(f"step {name} acted under {by}, granted were {sorted(tokens)}")
    return found


def damage(path):
    """Let SQLite check the whole file."""
    db = apsw.Connection(str(path))
    try:
        verdicts = [row[0] for row in db.execute("PRAGMA integrity_check")]
    finally:
        db.close()
    return [] if verdicts == ["ok"] else [f"integrity_check: {verdicts}"]
