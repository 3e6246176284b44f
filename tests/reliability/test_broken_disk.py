"""A disk that fails to sync, and one that gives back what nobody wrote."""

import asyncio
import json

import pytest

from outlast.api import create
from outlast.blobs import Blobs
from outlast.core.errors import CorruptError, UnavailableError
from outlast.core.job import Filter, NewJob
from outlast.core.payload import stored_of
from outlast.ledger.sqlite import SqliteLedger, lane
from outlast.system import new_id
from outlast.testing.disk import Disk, broken, nothing_unsynced
from tests.reliability import crash, crash_jobs

KEYS = 12


class Failing:
    """Fails some syncs of the log, by their number since it was armed."""

    def __init__(self, *numbers):
        self.numbers = numbers
        self.seen = None

    def fail(self, act):
        if self.seen is None or act.kind != "sync" or not act.path.endswith("-wal"):
            return
        self.seen += 1
        if self.seen in self.numbers:
            raise broken()


async def submits_through(disk, path, failing):
    """Submit with keys while syncs fail; return what was acknowledged, each with its point."""
    ledger = SqliteLedger(str(path))
    await ledger.migrate()
    failing.seen, acknowledged, refused = 0, [], []
    for n in range(KEYS):
        job = NewJob(id=new_id(), task="t", key=f"k{n}", fingerprint="f")
        for _ in range(4):
            try:
                (made,) = await ledger.insert([job])
            except UnavailableError as error:
                refused.append(error.hint)
                continue
            acknowledged.append((len(disk.tape), made.id))
            break
    jobs = (await ledger.count(Filter(), ""))[()]
    await ledger.close()
    return acknowledged, refused, jobs


async def lost_when_power_fails(disk, folder, acknowledged):
    """Cut the power after each acknowledgement; return how many are gone."""
    lost = 0
    for n, (point, _) in enumerate(acknowledged):
        disk.image(point, folder / str(n), keep=nothing_unsynced)
        ledger = SqliteLedger(str(folder / str(n) / "ledger.db"))
        await ledger.migrate()
        lost += (await ledger.get([id_ for _, id_ in acknowledged[: n + 1]])).count(None)
        await ledger.close()
    return lost


@pytest.mark.fault("F41")
async def test_after_a_failed_sync_nothing_is_acknowledged_that_is_not_durable(tmp_path):
    (tmp_path / "live").mkdir()
    failing = Failing(3, 4, 8, 9, 10)
    with Disk(before=failing.fail) as disk:
        acknowledged, refused, jobs = await submits_through(
            disk, tmp_path / "live" / "ledger.db", failing
        )

    assert (len(acknowledged), len(refused), jobs) == (KEYS, 5, KEYS)
    assert all("same idempotency key" in hint for hint in refused)
    assert await lost_when_power_fails(disk, tmp_path, acknowledged) == 0
    assert crash.damage(tmp_path / "live" / "ledger.db") == []


async def test_that_law_finds_a_ledger_that_overlooks_failed_syncs(tmp_path, monkeypatch):
    real = lane.connect

    def careless(path, patience=None):
        db = real(path, patience)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    monkeypatch.setattr(lane, "connect", careless)
    (tmp_path / "live").mkdir()
    failing = Failing(3, 4)
    with Disk(before=failing.fail) as disk:
        acknowledged, _, _ = await submits_through(disk, tmp_path / "live" / "ledger.db", failing)

    assert await lost_when_power_fails(disk, tmp_path, acknowledged) > 0


@pytest.mark.fault("F41")
@pytest.mark.parametrize("number", [1, 5, 9])
def test_a_job_whose_disk_fails_once_ends_as_if_it_had_not(tmp_path, number):
    failing = Failing(number)
    witness = tmp_path / "witness"
    with Disk(before=failing.fail):
        app = crash.app_of(tmp_path)

        async def go():
            asgi = create(app)
            async with asgi.router.lifespan_context(asgi):
                status = failing.seen = 0
                while status != 202:
                    status, answer = await crash.submit(asgi, crash.body_of(witness))
                async with crash.running(app, concurrency=1):
                    await crash.until(app.ledger, lambda: crash.ended(app.ledger, answer["id"]))
                (job,) = await app.ledger.get([answer["id"]])
                return job, await app.ledger.history(job.id, limit=1_000)

        job, events = asyncio.run(go())

    assert failing.seen > number
    assert job.status == "completed"
    assert crash.told_badly(events, job) == []
    assert len(json.loads(job.artifacts)) == 1


def flip(path, offset):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


async def saved(folder):
    """Make a job with a file, and its server; return the server and the file's path."""
    app = crash.app_of(folder)
    await crash.live(app, folder / "witness")
    (blob,) = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
    return app, blob


async def download(app):
    asgi = create(app)
    async with asgi.router.lifespan_context(asgi):
        (job,) = await app.ledger.find(Filter(), crash.Page(limit=1))
        return await crash.get(asgi, f"/v1/jobs/{job.id}/artifacts/report.txt")


async def reopened(app):
    async with app:
        return await app.ledger.find(Filter(), crash.Page(limit=1))


async def test_a_flipped_bit_in_a_file_is_told_and_the_file_not_served(tmp_path):
    app, blob = await saved(tmp_path)
    assert (await download(app))[0] == 200
    flip(blob, 1_000)

    status, body = await download(app)

    assert (status, json.loads(body)["code"]) == (500, "corrupt")
    (job,) = await reopened(app)
    with pytest.raises(CorruptError):
        await app.blobs.load(stored_of(json.loads(job.artifacts)[0]))


async def test_that_law_finds_files_that_are_served_unread(tmp_path, monkeypatch):
    async def unread(self, stored):
        async for chunk in self.store.read(stored.key, 0, stored.size):
            yield chunk

    monkeypatch.setattr(Blobs, "read", unread)
    app, blob = await saved(tmp_path)
    flip(blob, 1_000)

    status, body = await download(app)
    assert status == 200
    assert body != crash_jobs.REPORT


async def test_a_flipped_bit_in_the_structure_of_the_ledger_is_told(tmp_path):
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(str(path))
    await ledger.migrate()
    await ledger.insert([NewJob(id=new_id(), task="t") for _ in range(50)])
    await ledger.close()
    whole = path.read_bytes()
    silent = []
    for page in range(1, len(whole) // 4096):
        if page * 4096 >= len(whole) or whole[page * 4096] not in {2, 5, 10, 13}:
            continue
        path.write_bytes(whole)
        flip(path, page * 4096)  # the byte that says what kind of page it is
        try:
            ledger = SqliteLedger(str(path))
        except CorruptError:
            continue  # in the schema: told when the file is opened
        try:
            await ledger.check()
            silent.append(page)
        except CorruptError:
            pass
        finally:
            await ledger.close()

    assert silent == []
