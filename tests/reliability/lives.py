"""One life of the job for each component that may be killed in it, and what is wrong after it."""

import asyncio
import http.client
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Event

import apsw

from outlast.api import create
from outlast.core.errors import OutlastError
from outlast.core.job import NewJob
from outlast.system import new_id
from tests.reliability import crash
from tests.reliability.victims import Victim, free_port, fresh, settings_of

DEADLINE_S = 60
_PAUSE = Event()


def template(folder):
    """Make an empty ledger with its schema."""
    folder.mkdir()

    async def migrate():
        async with crash.app_of(folder):
            pass

    asyncio.run(migrate())
    return folder


def soon(true, victim):
    """Wait until it is so or the victim is dead; return whether it is so."""
    for _ in range(DEADLINE_S * 200):
        if true():
            return True
        if not victim.is_alive:
            return False
        _PAUSE.wait(0.005)
    raise TimeoutError(f"not within {DEADLINE_S} s")


class Life:
    """What a client was told in one life."""

    def __init__(self, empty, place, kind):
        self._empty = empty
        self._place = place
        self._kind = kind
        self.acknowledged = []  # the job of the key, as often as the client was told of it
        self._others = []
        self.left = 0  # how many jobs the crash left in the ledger

    def wrong(self, **death):
        """Live once; return whether somebody was killed, and what is wrong after recovery."""
        with fresh(self._empty, self._place) as folder:
            self._witness = folder / "witness"
            self.acknowledged, self._others = [], []
            killed = True
            try:
                killed = getattr(self, f"_{self._kind}")(folder, death)
                self.left = one(folder, "SELECT count(*) FROM job")
                told = crash.wrong_after(folder, self._witness, self.acknowledged, self._others)
                return killed, asyncio.run(told)
            except (OutlastError, TimeoutError) as error:
                return killed, [f"it can't be used any more: {error!r}"]
            finally:
                self._victim.process.kill()  # it is dead already, unless something is wrong

    def _api(self, folder, death):
        port = free_port()
        victim = self._victim = Victim("api", settings_of(folder, port), **death)
        if soon(lambda: answers(port), victim):
            # An answer that did not come says nothing.
            with suppress(OSError, http.client.HTTPException):
                self._converse(port)
        return victim.end()

    def _converse(self, port):
        """Submit with the key, submit three more, cancel one, look at one."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        body = crash.body_of(self._witness)
        self.acknowledged.append(
            call(client, "/v1/jobs", body, {"Idempotency-Key": crash.KEY})["id"]
        )
        entry = {"task": "short", "args": {}}
        made = call(client, "/v1/jobs/batch", json.dumps({"jobs": [entry] * 3}).encode())
        self._others += [job["id"] for job in made["jobs"]]
        call(client, f"/v1/jobs/{self._others[0]}/cancel", b"{}")
        self._others.append(call(client, "/v1/jobs", json.dumps(entry).encode())["id"])
        client.close()

    def _submit(self, folder, *others):
        async def submit():
            app = crash.app_of(folder)
            asgi = create(app)
            async with asgi.router.lifespan_context(asgi):
                _, answer = await crash.submit(asgi, crash.body_of(self._witness))
                self.acknowledged.append(answer["id"])
                for job in others:
                    (made,) = await app.ledger.insert([job])
                    self._others.append(made.id)

        asyncio.run(submit())

    def _worker(self, folder, death):
        self._submit(folder)
        victim = self._victim = Victim("worker", settings_of(folder), **death)
        soon(lambda: status(folder, self.acknowledged[0]) == "completed", victim)
        return victim.end()

    def _supervisor(self, folder, death):
        """Its worker is killed after a step, another job becomes due; it must see to both."""
        delayed = NewJob(id=new_id(), task="short", delay_us=700_000)
        victim = self._victim = Victim("supervisor", settings_of(folder), **death)
        hold = folder / "hold"
        if victim.ready():
            hold.touch()
            self._submit(folder, delayed)
            if soon(self._witness.exists, victim) and (pid := worker(folder)):
                os.kill(pid, signal.SIGKILL)
            hold.unlink()
            ids = [*self.acknowledged, *self._others]
            soon(lambda: {status(folder, id_) for id_ in ids} == {"completed"}, victim)
        return victim.end()


def answers(port):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        client.request("GET", "/healthz")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()


def call(client, path, body, headers=()):
    client.request("POST", path, body, {"Content-Type": "application/json", **dict(headers)})
    answer = client.getresponse()
    text = answer.read()
    assert answer.status in {200, 202}, (answer.status, text)
    return json.loads(text)


def status(folder, job_id):
    return one(folder, "SELECT status FROM job WHERE id = ?", job_id)


def worker(folder):
    """Return the process ID of the worker that is there, if one is."""
    doc = one(folder, "SELECT doc FROM doc WHERE kind = ? ORDER BY lease_until DESC", "worker")
    pid = json.loads(doc)["pid"] if doc else None
    return pid if pid and Path(f"/proc/{pid}").exists() else None


def one(folder, statement, *binds):
    """Look from outside, as an operator with a SQLite shell would."""
    db = apsw.Connection(f"{folder}/ledger.db")
    try:
        db.set_busy_timeout(1_000)
        row = db.execute(statement, binds).fetchone()
        return row and row[0]
    finally:
        db.close()
