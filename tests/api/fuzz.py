"""Send the API what its own description allows and what it forbids, and judge each answer.

Schemathesis makes requests from the OpenAPI document; each is sent as it was made, and again about
jobs, queues and schedules that exist, with the keys of an operator and of a tenant.

usage: python -m tests.api.fuzz [--requests N] [--seed N]
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from outlast.core.errors import QueueFullError, StorageFullError, UnavailableError
from tests.cli.rig import started, using

APP = """\
from outlast import Job, Outlast

app = Outlast()


@app.task
async def add(job: Job, a: int, b: int = 0) -> int:
    job.log(f"{a} and {b}")
    await job.save("sum.txt", str(a + b).encode())
    return a + b


@app.task(retries=0, queue="slow")
async def fail(why: str, many: list[dict[str, str]] | None = None) -> None:
    raise ValueError(why)
"""
# The documented answers of 500 and more: each says when to try again, or what to make room for.
DOCUMENTED = {(kind.http_status, kind.code) for kind in (QueueFullError, StorageFullError)}
DOCUMENTED.add((UnavailableError.http_status, UnavailableError.code))
KEYS = {
    "root": {"scopes": ["admin"], "tenant": ""},
    "of-a": {"scopes": ["submit", "read", "operate"], "tenant": "a"},
}
WAIT_S = 60
PER_TURN = 40  # cases of one operation and one mode before the next one has its turn
LINES = 25_000  # of requests, between two lines of progress


class Fuzz:
    """One run against one server."""

    def __init__(self, url, *, most, dice, per_turn=PER_TURN):
        self.url = url
        self.most = most
        self.per_turn = per_turn
        self.dice = Random(dice)
        self.sent = Counter()  # by status
        self.refused = Counter()  # the documented 5xx, by their codes
        self.faults = []
        self.operations = set()
        self._session = requests.Session()
        self._there = {"id": [""], "q": ["default", "slow"], "name": ["sum.txt", "nightly"]}

    @property
    def count(self):
        return sum(self.sent.values())

    def run(self, progress=lambda _: None):
        """Send requests until there were enough; every operation has its turn in each round."""
        document = self._session.get(f"{self.url}/openapi.json", headers=_bearer("root")).json()
        found = [one.ok() for one in schemathesis.openapi.from_dict(document).get_all_operations()]
        turns = [(one, mode) for one in found for mode in GenerationMode]
        self.dice.shuffle(turns)
        while self.count < self.most:
            for turn in list(turns):
                self._look()
                try:
                    self._turn(*turn)
                except Unsatisfiable:
                    turns.remove(turn)  # nothing about it can be wrong, such as a GET of a list
                if self.count >= self.most:
                    break
                progress(self)
        return self

    def _look(self):
        """Learn what exists, so that requests are about it too."""
        jobs = self._session.get(f"{self.url}/v1/jobs?limit=200", headers=_bearer("root"))
        self._there["id"] = [job["id"] for job in jobs.json()["jobs"]] or [""]

    def _turn(self, operation, mode):
        """Send some requests of one operation: such as it describes, or such as it forbids."""

        @seed(self.dice.getrandbits(32))
        @settings(
            max_examples=self.per_turn, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def send(case):
            names = [name for name in self._there if name in (case.path_parameters or {})]
            self._send(case)
            for _ in range(3 if names else 1):
                for name in names:
                    case.path_parameters[name] = self.dice.choice(self._there[name])
                self._send(case)

        send()
        self.operations.add(operation.label)

    def _send(self, case):
        if self.count >= self.most:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that no client could send
            said = case.as_transport_kwargs(base_url=self.url)
        key = self.dice.choice(["root", "root", "of-a"])
        headers = {**said.pop("headers"), **_bearer(key)}
        try:
            got = self._session.request(
                **said, headers=headers, timeout=WAIT_S, allow_redirects=False
            )
        except (requests.exceptions.InvalidHeader, UnicodeError):
            return  # what HTTP itself can't carry
        self.sent[got.status_code] += 1
        wrong = self._wrong(got)
        if wrong:
            body = got.request.body
            asked = f"{got.request.method} {got.request.url} {headers} {body!r:.300}"
            fault = f"{wrong}: {asked} -> {got.status_code} {got.text[:300]}"
            self.faults.append(fault)
            print(f"FAULT {fault}", flush=True)

    def _wrong(self, got):
        """Say what is wrong with an answer; None if nothing is."""
        if got.status_code < requests.codes.bad_request:
            return None
        if got.headers.get("content-type") != "application/problem+json":
            return None if got.request.method == "HEAD" else "no problem document"
        body = got.json()
        if {"type", "title", "status", "detail", "code"} - body.keys():
            return "half a problem document"
        if body["status"] != got.status_code:
            return "a problem document of another status"
        if got.status_code >= requests.codes.server_error:
            if (got.status_code, body["code"]) not in DOCUMENTED:
                return "an undocumented error of the server"
            self.refused[body["code"]] += 1
        return None


def _bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def open_keys(ledger):
    """Let the keys of the run in."""

    async def put(opened):
        await opened.migrate()
        for secret, said in KEYS.items():
            doc = json.dumps({**said, "prefix": secret, "created_at": ""})
            await opened.put("key", sha256(secret.encode()).hexdigest(), doc)

    using(ledger, put)


@contextmanager
def a_server():
    """Run the API and a worker as real processes on a fresh ledger; give the URL."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "fuzzed.py").write_text(APP, encoding="utf-8")
        os.chdir(folder)
        ledger = f"sqlite:///{folder}/ledger.db"
        open_keys(ledger)
        places = ("--ledger", ledger, "--blobs", f"{folder}/blobs")
        with started("worker", "fuzzed.py", *places), started("api", "fuzzed.py", *places) as ready:
            yield ready["url"]


def main():
    """Send many requests; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    told = 0

    def progress(fuzz):
        nonlocal told
        if fuzz.count - told >= max(1, min(LINES, asked.requests // 20)):
            told = fuzz.count
            print(f"{fuzz.count:,} of {asked.requests:,}, faults {len(fuzz.faults)}", flush=True)

    with a_server() as url:
        done = Fuzz(url, most=asked.requests, dice=asked.seed).run(progress)
    statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(done.sent.items()))
    print(f"requests {done.count:,} to {len(done.operations)} operations ({statuses})")
    print(f"documented refusals {dict(done.refused)}")
    print(f"faults {len(done.faults)}")
    return 1 if done.faults or done.count < asked.requests else 0


if __name__ == "__main__":
    sys.exit(main())
