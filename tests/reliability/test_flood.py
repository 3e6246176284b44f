"""A job that prints or returns without end is cut, with a mark, and fills no memory."""

import json
import os
from collections import deque
from pathlib import Path
from threading import Thread

import faulty
import pytest

from outlast.core.errors import JobFailedError
from outlast.core.limits import LOG_LINE_CHARS_MAX, LOG_LINES_MAX, PAYLOAD_BYTES_MAX
from tests.reliability.rig import SETTLES_S, assert_kept

MEGABYTES = int(os.environ.get("OUTLAST_FLOOD_MB", "170"))
ROOM_MB = 96  # what 10,000 lines of 8,192 characters in flight may take


def memory_mb(pid):
    """Return the most memory that a process ever had."""
    with Path(f"/proc/{pid}/status").open(encoding="utf-8") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024


async def worker(app):
    (doc,) = [doc for doc in await app.ledger.docs("worker") if doc.lease_until]
    return json.loads(doc.doc)["pid"]


@pytest.mark.fault("F56")
async def test_what_a_job_prints_is_cut_with_a_mark_and_the_memory_stays_flat(app, fleet, tmp_path):
    out = fleet(processes=1).stdout
    # What is printed goes on to the terminal, too: one that nobody reads would stop the job.
    Thread(target=lambda: deque(out, maxlen=0), daemon=True).start()
    await (await faulty.plain.submit(1)).result(timeout=SETTLES_S)
    pid = await worker(app)
    before, lines = memory_mb(pid), MEGABYTES * 64
    handle = await faulty.noisy.submit(lines=lines, length=16_384)

    assert await handle.result(timeout=SETTLES_S) == lines

    logs = []
    while page := await app.ledger.history(
        handle.id, type="log", after=logs[-1].seq if logs else 0
    ):
        logs += page
    assert len(logs) == LOG_LINES_MAX
    assert "log cut here" in json.loads(logs[-1].data)["message"]
    assert max(len(json.loads(event.data)["message"]) for event in logs) <= LOG_LINE_CHARS_MAX
    assert memory_mb(pid) - before < ROOM_MB


@pytest.mark.fault("F56")
async def test_a_result_over_its_limit_fails_its_job_and_harms_no_neighbour(app, fleet, tmp_path):
    fleet(processes=1)
    huge = await faulty.huge.submit(megabytes=(PAYLOAD_BYTES_MAX >> 20) + 1)
    with pytest.raises(JobFailedError, match=str(PAYLOAD_BYTES_MAX)):
        await huge.result(timeout=SETTLES_S)
    plain = await faulty.plain.submit(7)

    assert await plain.result(timeout=SETTLES_S) == 7
    told = await assert_kept(app.ledger, tmp_path, [huge, plain])
    assert len(told.rows[huge.id].error) < 64 * 1024
