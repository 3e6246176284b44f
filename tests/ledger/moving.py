"""A ledger with something of everything in it, moves of it, and what must be the same afterwards.

usage: python tests/ledger/moving.py FROM TO POINT   (moves, and kills itself before that call)
"""

import asyncio
import json
import os
import signal
import sys

from outlast.core import transition
from outlast.core.job import Filter, NewJob, Page, Want
from outlast.core.limits import LEASE_US
from outlast.core.retry import DEFAULT_BACKOFF
from outlast.core.share import Limit
from outlast.core.unique import Sole
from outlast.ledger import open_ledger
from outlast.ledger.move import Move, open_source, open_target
from outlast.system import CLOCK, new_id

HOUR = 3_600_000_000
KINDS = ("declared", "key", "limit", "queue", "schedule", "secret", "tombstone", "upkeep", "upload")


def job(**fields):
    return NewJob(**{"id": new_id(), "task": "t", **fields})


def _limit(**said):
    return json.loads(Limit.of(said).text())


async def filled(url):
    """Make a ledger in which there is something of everything."""
    ledger = open_ledger(url)
    await ledger.migrate()
    await ledger.put("worker", "w", "{}", ttl_us=HOUR)
    for kind, key, doc in (
        ("queue", "slow", {"paused": True}),
        ("limit", "key:a", _limit(concurrency=50, rate="100/s", burst=50)),
        ("limit", "task:paced", _limit(rate="1/h")),
        ("key", "0" * 64, {"scopes": ["read"], "prefix": "ol_x", "tenant": "acme"}),
        ("schedule", "nightly", {"cron": "0 3 * * *"}),
    ):
        await ledger.put(kind, key, json.dumps(doc))
    await ledger.put("schedule", "nightly", json.dumps({"cron": "0 4 * * *"}))
    await ledger.insert([job(task="paced") for _ in range(3)])
    await ledger.insert(
        [
            job(
                queue=("default", "other")[n % 2],
                priority=n % 3,
                tenant=("", "acme", "zeta")[n % 3],
                concurrency_key=("a", None)[n % 2],
                key=f"key-{n}",
                fingerprint=f"print-{n}",
                args=json.dumps({"n": n, "text": "ä\u2028'\"\\ \t 😀"}),
                tags=json.dumps(["some", "täg"]),
                expires_in_us=HOUR,
                deadline_us=2 * HOUR,
                timeout_us=5,
            )
            for n in range(30)
        ]
    )
    await ledger.insert([job(sole=Sole("only", on="reject"), delay_us=HOUR)])
    await ledger.insert([job(queue="slow"), job(run_at_us=await ledger.now() + HOUR)])
    await _work(ledger)
    return ledger


async def _work(ledger):
    leases = await ledger.claim(Want("w", ("default", "other"), 20))
    failed, done, told, lost, *rest = leases
    at = "2026-01-01T00:00:00Z"
    error = {"type": "E", "message": "no", "attempt": 1, "retryable": False}
    artifact = json.dumps({"name": "a.txt", "sha256": "0"})
    await ledger.commit([transition.completed(one, '{"r":1}') for one in rest[:8]])
    await ledger.commit([transition.completed(done, None)])
    await ledger.commit(
        [
            transition.amended(told, "progress", "{}", progress=json.dumps({"done": 1})),
            transition.amended(told, "artifact", artifact, artifact=artifact),
            transition.saved(told, '{"at":3}'),
            transition.failed(failed, error, backoff=DEFAULT_BACKOFF, dice=0.5),
            transition.lost(lost, reason="gone", at=at, dice=0.5),
        ]
    )
    await ledger.prune(await ledger.now() + HOUR, 2)


async def contents(ledger):
    """Return all that a user can see of a ledger."""
    jobs = await ledger.find(Filter(), Page(limit=10_000, oldest_first=True))
    docs = [doc for kind in KINDS for doc in await ledger.docs(kind)]
    return jobs, await ledger.history(None, limit=100_000), docs


class Killing:
    """Passes calls on, and kills the process before the n-th one."""

    calls = 0

    def __init__(self, real, point):
        self._real, self._point = real, point

    def __getattr__(self, name):
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*args):
            Killing.calls += 1
            if Killing.calls == self._point:
                os.kill(os.getpid(), signal.SIGKILL)
            return found(*args)

        return call


class Hasty:
    """A clock on which whatever is waited for is over at the next look."""

    def __init__(self):
        self._elapsed = 0

    def now_us(self):
        return CLOCK.now_us()

    def elapsed_us(self):
        self._elapsed += LEASE_US
        return self._elapsed


async def moved(from_, to, *, wrap=lambda side: side, drain_s=0.0):
    """Move a ledger; return the move."""
    source, target = open_source(from_, CLOCK), open_target(to, CLOCK)
    try:
        move = Move(wrap(source), wrap(target), Hasty(), lambda _: None)
        await move.run(new_id(), drain_s)
        return move
    finally:
        await target.close()
        await source.close()


if __name__ == "__main__":
    start, end, number = sys.argv[1:]
    asyncio.run(moved(start, end, wrap=lambda side: Killing(side, int(number))))
