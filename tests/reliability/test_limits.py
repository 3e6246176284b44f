"""Limits hold at every instant over four processes, whoever is killed and whatever is changed.

`make witness` runs it with 10,000 jobs.
"""

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import limited
import pytest

from outlast.core.job import Filter
from outlast.core.prefetch import DEPTH_MAX
from outlast.core.share import Limit
from outlast.core.status import Status
from outlast.sdk.settings import Settings
from outlast.sdk.submission import Options, new_job
from outlast.system import CLOCK
from tests.worker.rig import fleets

JOBS = int(os.environ.get("OUTLAST_WITNESS_JOBS", "1500"))
KEYS, PROCESSES, KILLS, SEED = 50, 4, 6, 2026
BEFORE, LOWERED = 2, 1
# Written for its workers alone: a file of the tests would be imported while they are collected.
CARELESS = f"""
import sys
sys.path.insert(0, {str(Path(limited.__file__).parent)!r})
from outlast.core.share import Gate

Gate.stopped_by = lambda *_: None  # the planted bug: no limit stops anybody
from limited import app
"""
CLAIM_MAX = 2 * (16 + DEPTH_MAX)  # what one claim brings, and one that was under way
ENDS = {"completed", "failed", "cancelled", "retrying", "heartbeat-lost", "released"}
BEATS = 30 + JOBS // 50  # so many tenths of a second a run may take


def leases_over(events, key_of, limit_at):
    """Sweep over the ledger's own history; return each start that made one lease too many."""
    held, holders, wrong = Counter(), set(), []
    for event in events:
        key = key_of[event.job_id]
        if event.type == "started":
            held[key] += 1
            if held[key] > limit_at(event.position):
                wrong.append((event.position, key, held[key]))
            holders.add(event.job_id)
        elif event.type in ENDS and event.job_id in holders:
            holders.remove(event.job_id)
            held[key] -= 1
    return wrong


def runs_over(lines, deaths, limit):
    """Sweep over what the jobs' own code said; who was killed runs no longer than that."""
    marks = [line.split() for line in lines]
    ended = {(m[2], m[3]) for m in marks if m[5] == "end"}
    steps = []
    for at, key, job, token, pid, what in marks:
        steps.append((int(at), 1 if what == "start" else -1, key))
        if what == "start" and (job, token) not in ended:
            steps.append((max(int(at), deaths[int(pid)]) + 1, -1, key))
    running, worst = Counter(), 0
    for _, step, key in sorted(steps):  # an end goes before a start of the same microsecond
        running[key] += step
        worst = max(worst, running[key])
    return max(0, worst - limit)


async def submit_all(ledger, file, jobs, keys):
    dice, key_of = random.Random(SEED), {}
    task = limited.app.tasks["brief"]
    for first in range(0, jobs, 500):
        made = []
        for _ in range(first, min(first + 500, jobs)):
            key = f"k{dice.randrange(keys)}"
            made.append(new_job(task, {"file": file, "key": key}, Options(concurrency_key=key)))
            key_of[made[-1].id] = key
        await ledger.insert(made)
    return key_of


async def kill_one(ledger, dice, deaths):
    """Kill a worker that lives, and note when; the dead stay listed for a while."""
    docs = [json.loads(doc.doc) for doc in await ledger.docs("worker") if doc.lease_until]
    living = [doc["pid"] for doc in docs if doc["pid"] not in deaths]
    if not living:
        return 0
    pid = dice.choice(living)
    deaths[pid] = CLOCK.elapsed_us()
    os.kill(pid, signal.SIGKILL)
    return 1


async def ended(ledger):
    live = (Status.PENDING, Status.SCHEDULED, Status.PROCESSING)
    counts = [await ledger.count(Filter(status=status), "") for status in (None, *live)]
    return counts[0][()] - sum(count.get((), 0) for count in counts[1:])


async def story_of(folder, app_file, jobs, kills=KILLS, keys=KEYS):
    """Let four processes do the jobs, kill some, and lower the limit half way; return the facts."""
    settings = Settings(ledger=f"sqlite:///{folder}/ledger.db", blobs=f"{folder}/blobs")
    limited.app.configure(settings)
    witness = f"{folder}/witness"
    dice, deaths, killed, lowered = random.Random(SEED), {}, 0, None
    async with limited.app as app:
        ledger = app.ledger
        await ledger.put("limit", "key:*", Limit(concurrency=BEFORE).text())
        key_of = await submit_all(ledger, witness, jobs, keys)
        with fleets(folder, app_file) as start:
            start(processes=PROCESSES)
            for _ in range(10 * BEATS):
                done = await ended(ledger)
                if done == jobs:
                    break
                # In the first half: whoever is killed late may find nothing left to be killed for.
                if killed < kills and done > jobs * killed / (2 * kills):
                    killed += await kill_one(ledger, dice, deaths)
                if lowered is None and done >= jobs // 2:
                    await app.limit("key:*", concurrency=LOWERED)
                    lowered = (await everything(ledger))[-1].position
                await ledger.bell.wait(0.1)
            else:
                raise AssertionError(f"{done} of {jobs} jobs ended in time")
        events = await everything(ledger)
    return events, key_of, lines_of(witness), deaths, lowered, killed


def lines_of(file):
    return Path(file).read_text().splitlines()


async def everything(ledger):
    found = []
    while page := await ledger.history(None, after=found[-1].position if found else 0, limit=5_000):
        found += page
    return found


@pytest.mark.slow
async def test_no_key_ever_has_more_leases_than_its_limit(tmp_path):
    app_file = Path(limited.__file__)

    events, key_of, lines, deaths, lowered, killed = await story_of(tmp_path, app_file, JOBS)

    assert killed == KILLS
    assert lowered is not None
    over = leases_over(events, key_of, lambda at: BEFORE if at <= lowered else LOWERED)
    assert over == []
    assert runs_over(lines, deaths, BEFORE) == 0
    assert sum(event.type in {"completed", "failed"} for event in events) == JOBS
    assert sum(event.position > lowered and event.type == "started" for event in events) > JOBS / 10


@pytest.mark.slow
async def test_that_law_finds_workers_that_take_no_notice(tmp_path):
    careless = tmp_path / "careless.py"
    careless.write_text(CARELESS)
    events, key_of, lines, deaths, *_ = await story_of(tmp_path, careless, 300, kills=0, keys=4)

    assert leases_over(events, key_of, lambda _: BEFORE) != []
    assert runs_over(lines, deaths, BEFORE) > 0


@pytest.mark.fault("F55")
@pytest.mark.slow
async def test_a_crowd_of_one_key_delays_another_s_job_by_no_more_than_a_claim(tmp_path):
    limited.app.configure(
        Settings(ledger=f"sqlite:///{tmp_path}/ledger.db", blobs=f"{tmp_path}/blobs")
    )
    witness = f"{tmp_path}/witness"
    async with limited.app as app:
        await submit_all(app.ledger, witness, 4_000, 1)
        with fleets(tmp_path, Path(limited.__file__)) as start:
            start(processes=1)
            while await ended(app.ledger) < 100:
                await app.ledger.bell.wait(0.1)
            rival = limited.brief.options(concurrency_key="rival")
            handle = await rival.submit(file=witness, key="rival")
            await handle.result(timeout=60)
        events = await everything(app.ledger)
    (submitted,) = [e.position for e in events if (e.job_id, e.seq) == (handle.id, 1)]
    (started,) = [e.position for e in events if (e.job_id, e.type) == (handle.id, "started")]
    before = sum(e.type == "started" and submitted < e.position < started for e in events)
    assert before <= CLAIM_MAX < 3_000
