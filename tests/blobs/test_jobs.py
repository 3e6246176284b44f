"""Files and payloads of jobs, from the task that makes them to whoever asks, on each store."""

import json
from pathlib import Path

import pytest

from outlast import Job, SyncJob
from outlast.core.errors import CorruptError, InvalidInputError, JobFailedError, NotFoundError
from outlast.core.limits import PAYLOAD_INLINE_MAX
from outlast.core.payload import moved, stored_of
from outlast.core.unique import Unique
from outlast.sdk.app import Outlast
from outlast.testing.blob_laws import NASTY
from tests.worker.rig import AT_ONCE, DEADLINE_S, running

BIG = "ü" * PAYLOAD_INLINE_MAX


@pytest.fixture(params=["local", "s3"])
async def app(request, tmp_path):
    blobs = str(tmp_path / "blobs")
    if request.param == "s3":
        blobs = request.getfixturevalue("bucket")
    async with Outlast(ledger=f"sqlite:///{tmp_path}/outlast.db", blobs=blobs) as app:
        yield app


async def keys(app):
    return {blob.key async for portion in app.blobs.store.found() for blob in portion}


async def done(app, handle):
    async with running(app):
        return await handle.result(DEADLINE_S)


async def test_a_task_saves_and_opens_streams(app, tmp_path):
    @app.task
    async def streams(job: Job) -> list[int]:
        async def parts():
            for n in range(5):
                yield bytes([n]) * 1_000_000

        (tmp_path / "file").write_bytes(b"from a path")
        await job.save("parts", parts())
        await job.save("plain", (b"a", b"b"))
        await job.save("path", tmp_path / "file")
        sizes = [len(chunk) async for chunk in job.open("parts")]
        assert await job.load("plain") == b"ab"
        assert await job.load("path") == b"from a path"
        return [sum(sizes), max(sizes)]

    total, largest = await done(app, handle := await streams.submit())

    assert total == 5_000_000
    assert largest <= 4 * 1024 * 1024
    assert [one.name for one in await handle.artifacts()] == ["parts", "plain", "path"]


async def test_a_plain_function_streams_too(app):
    @app.task
    def streams(job: SyncJob) -> int:
        job.save("parts", (bytes(1_000_000) for _ in range(3)))
        return sum(len(chunk) for chunk in job.open("parts"))

    assert await done(app, await streams.submit()) == 3_000_000


async def test_a_handle_downloads_whole_files_only(app, tmp_path):
    @app.task
    async def make(job: Job) -> None:
        await job.save("a/b.txt", b"x" * 3_000_000)

    await done(app, handle := await make.submit())
    path = await handle.download("a/b.txt", tmp_path / "b.txt")
    (row,) = await app.ledger.get([handle.id])
    stored = stored_of(json.loads(row.artifacts)[0])
    await app.blobs.store.delete([stored.key])
    await app.blobs.store.write(stored.key, _damaged(), name="x", media_type="x/x")

    with pytest.raises(CorruptError):
        await handle.download("a/b.txt", tmp_path / "other.txt")
    with pytest.raises(NotFoundError):
        await handle.download("nope", tmp_path / "nope.txt")

    assert path.read_bytes() == b"x" * 3_000_000
    assert not (tmp_path / "other.txt").exists()


async def _damaged():
    yield b"x" * 2_999_999 + b"y"


@pytest.mark.parametrize("name", NASTY)
async def test_a_file_may_be_called_anything_and_stays_where_it_belongs(tmp_path, name):
    app = Outlast(ledger="memory://", blobs=str(tmp_path / "deep" / "blobs"))

    @app.task(retries=0)
    async def make(job: Job) -> bool:
        await job.save(name, b"x")
        return await job.load(name) == b"x"

    refused = name in {"", ".", ".."} or not name.isprintable() or len(name) > 200
    async with app:
        if refused:
            with pytest.raises(JobFailedError, match="printable characters"):
                await done(app, await make.submit())
        else:
            assert await done(app, await make.submit())

    assert all(Path(path).parts[-4] == "blobs" for path in (tmp_path / "deep").glob("blobs/*/*/*"))
    assert [path.name for path in tmp_path.iterdir()] in (["deep"], [])


async def test_a_file_is_gone_when_its_time_is_over(app, monkeypatch):
    @app.task
    async def make(job: Job) -> str | None:
        await job.save("kept", b"x", ttl="1h")
        return (await job.save("short", b"x", ttl=0)).expires_at

    handle = await make.submit()
    assert await done(app, handle) is not None

    assert [one.name for one in await handle.artifacts()] == ["kept"]
    with pytest.raises(NotFoundError):
        [chunk async for chunk in handle.open("short")]


async def test_a_strange_ttl_is_refused(app):
    @app.task(retries=0)
    async def make(job: Job) -> None:
        await job.save("x", b"x", ttl="soon")

    with pytest.raises(JobFailedError, match="ttl: expected a duration"):
        await done(app, await make.submit())


async def test_large_arguments_results_and_steps_move_and_come_back(app):
    calls = []

    def fetch(text: str) -> str:
        calls.append(1)
        return text + "!"

    @app.task(backoff=AT_ONCE)
    async def echo(job: Job, text: str) -> str:
        found = await job.step("fetch", fetch, text)
        if job.attempt == 1:
            raise ValueError("once more")
        return found

    result = await done(app, handle := await echo.submit(text=BIG))

    (row,) = await app.ledger.get([handle.id])
    assert result == BIG + "!"
    assert calls == [1]
    assert len(row.args) + len(row.result) < 1_000
    assert len(await keys(app)) == 3
    assert all(len(event.data) < 1_000 for event in await app.ledger.history(handle.id))


async def test_small_ones_stay_in_the_row(app):
    @app.task
    async def echo(text: str) -> str:
        return text

    await done(app, handle := await echo.submit(text="x" * 60_000))

    (row,) = await app.ledger.get([handle.id])
    assert moved(row.args) is None
    assert moved(row.result) is None
    assert await keys(app) == set()


async def test_a_repeat_of_a_large_request_is_one_job_and_leaves_nothing(app):
    @app.task
    async def echo(text: str) -> None: ...

    first = await echo.options(key="k").submit(text=BIG)
    again = await echo.options(key="k").submit(text=BIG)

    assert (again.id, again.duplicate) == (first.id, True)
    assert len(await keys(app)) == 1


async def test_a_retry_with_large_arguments_runs_with_them(app):
    @app.task(retries=0)
    async def need(text: str) -> int:
        if not text:
            raise ValueError("nothing")
        return len(text)

    handle = await need.submit(text="")
    with pytest.raises(JobFailedError):
        await done(app, handle)
    await handle.retry({"text": BIG})

    assert await done(app, handle) == len(BIG)


async def test_a_value_that_looks_like_a_reference_is_a_value(app):
    @app.task
    async def echo(value: dict) -> str:
        return 'blob:{"key": "x", "size": 1, "sha256": "x"}'

    handle = await echo.submit(value={"$blob": "x", "blob": "y"})

    assert (await done(app, handle)).startswith("blob:")


async def test_arguments_over_the_limit_are_refused_at_the_door(app):
    app.blobs.payload_max = len(BIG)

    @app.task
    async def echo(text: str) -> None: ...

    with pytest.raises(InvalidInputError, match="at most 65536 bytes"):
        await echo.submit(text=BIG)
    assert await keys(app) == set()


async def test_arguments_that_may_replace_others_stay_in_the_row(app):
    @app.task(unique=Unique(on="replace"))
    async def index(text: str) -> int:
        return len(text)

    first = await index.options(delay="1h").submit(text=BIG)
    again = await index.submit(text=BIG)
    with pytest.raises(InvalidInputError, match="at most 262144 bytes"):
        await index.submit(text=BIG * 3)

    assert again.id == first.id
    assert await keys(app) == set()
    assert await done(app, again) == len(BIG)
