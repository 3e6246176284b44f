"""The laws of blob stores: what every `BlobStore` must hold, in a fresh and empty one."""
# ruff: noqa: D103 - a law's name says what it states

import asyncio
from collections.abc import AsyncGenerator, Iterable
from types import SimpleNamespace

from outlast.blobs import Blobs, BlobStore
from outlast.core.errors import CorruptError, NotFoundError, OutlastError, TooLargeError
from outlast.core.payload import Stored, moved
from outlast.system import new_id

# What is tried to break out of a folder, or to become another name on the way.
NASTY = (
    "../outside", "..", ".", "/etc/passwd", "..\\..\\outside", "%2e%2e%2foutside", "%252e%252e/x",
    "a/../../outside", "a\x00b", "~root/x", "C:\\x", "//server/share", "", "a//b", "....//x",
    "\u2025/x", "\uff0e\uff0e/x", "x" * 300,
)  # fmt: skip
_MIB = 1024 * 1024


async def _several(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def _written(store: BlobStore, data: bytes, owner: str | None = None) -> str:
    key = f"{owner or new_id()}/{new_id()}"
    await store.write(key, _several(data), name="file", media_type="text/plain")
    return key


async def _read(store: BlobStore, key: str, start: int = 0, end: int = 2**40) -> bytes:
    return b"".join([chunk async for chunk in store.read(key, start, end)])


async def _keys(store: BlobStore, owner: str | None = None) -> list[str]:
    return sorted([blob.key async for portion in store.found(owner) for blob in portion])


async def _raised(work: Iterable[object] | AsyncGenerator[bytes, None] | object) -> Exception:
    """Return the error that the work ends in."""
    try:
        if isinstance(work, AsyncGenerator):
            async for _ in work:
                pass
        elif asyncio.iscoroutine(work):
            await work
    except Exception as error:  # noqa: BLE001 - the law says which it must be
        return error
    raise AssertionError("expected an error, got none")


async def test_what_was_written_is_read_whole_and_in_part(store: BlobStore) -> None:
    data = bytes(range(256)) * 100
    key = await _written(store, data)

    assert await _read(store, key, 0, len(data)) == data
    assert await _read(store, key, 10, 20) == data[10:20]
    assert await _read(store, key, len(data) - 3, len(data) + 9) == data[-3:]


async def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    key = await _written(store, b"")

    assert await _read(store, key, 0, 0) == b""
    assert await _keys(store) == [key]


async def test_many_chunks_become_one_blob(store: BlobStore) -> None:
    chunks = [bytes([n]) * _MIB for n in range(20)]
    key = f"{new_id()}/{new_id()}"

    await store.write(key, _several(*chunks), name="file", media_type="text/plain")

    assert await _read(store, key, 0, 20 * _MIB) == b"".join(chunks)


async def test_a_write_whose_source_fails_leaves_nothing(store: BlobStore) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        for _ in range(20):
            yield b"x" * _MIB
        raise ValueError("the source broke")

    key = f"{new_id()}/{new_id()}"
    error = await _raised(store.write(key, broken(), name="file", media_type="text/plain"))

    assert "the source broke" in str(error)
    assert isinstance(await _raised(store.read(key, 0, 1)), NotFoundError)


async def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    key = f"{new_id()}/{new_id()}"

    assert isinstance(await _raised(store.read(key, 0, 1)), NotFoundError)
    assert isinstance(await _raised(store.mark(key)), NotFoundError)


async def test_no_name_is_ever_a_path(store: BlobStore) -> None:
    there = await _written(store, b"mine")
    for name in NASTY:
        for key in (name, f"{new_id()}/{name}", f"{name}/{new_id()}", f"{there}/{name}"):
            assert isinstance(await _raised(store.read(key, 0, 9)), NotFoundError), key
            assert isinstance(await _raised(store.mark(key)), NotFoundError), key
            assert isinstance(await _raised(store.link(key, 9)), NotFoundError), key
            wrong = store.write(key, _several(b"x"), name="x", media_type="x/x")
            assert isinstance(await _raised(wrong), NotFoundError), key
            assert isinstance(await _raised(store.delete([key])), NotFoundError), key

    assert await _keys(store) == [there]


async def test_names_are_only_told(store: BlobStore) -> None:
    for name in NASTY:
        key = f"{new_id()}/{new_id()}"
        await store.write(key, _several(b"x"), name=name, media_type="text/plain")
        assert await _read(store, key, 0, 1) == b"x"

    assert len(await _keys(store)) == len(NASTY)


async def test_a_listing_shows_each_blob_with_its_size_and_owner(store: BlobStore) -> None:
    mine, other = new_id(), new_id()
    keys = [await _written(store, b"12345", mine) for _ in range(3)]
    await _written(store, b"", other)

    found = [blob async for portion in store.found() for blob in portion]

    assert len(found) == 4  # noqa: PLR2004 - three and one
    assert {(blob.key, blob.size) for blob in found if blob.owner == mine} == {
        (key, 5) for key in keys
    }
    assert all(blob.at_us > 0 for blob in found)
    assert await _keys(store, mine) == sorted(keys)
    assert await _keys(store, new_id()) == []


async def test_deleting_removes_these_and_forgives_what_is_gone(store: BlobStore) -> None:
    owner = new_id()
    first, second = await _written(store, b"1", owner), await _written(store, b"2", owner)

    await store.delete([first, f"{new_id()}/{new_id()}"])
    await store.delete([first])
    await store.delete([])

    assert isinstance(await _raised(store.read(first, 0, 1)), NotFoundError)
    assert await _keys(store) == [second]


async def test_writers_of_one_owner_do_not_meet(store: BlobStore) -> None:
    owner = new_id()
    payloads = [bytes([n]) * 1_000 for n in range(20)]

    async def come_and_go(data: bytes) -> str:
        await store.delete([await _written(store, b"gone", owner)])
        return await _written(store, data, owner)

    keys = await asyncio.gather(*(come_and_go(data) for data in payloads))

    assert await asyncio.gather(*(_read(store, key, 0, 1_000) for key in keys)) == payloads


async def test_a_stream_is_stored_with_its_size_and_hash(store: BlobStore) -> None:
    blobs = Blobs(store, new_id)

    stored = await blobs.put(new_id(), _several(b"ab", b"", b"c"))

    assert (stored.size, stored.sha256[:8]) == (3, "ba7816bf")  # of "abc", by FIPS 180-4
    assert await blobs.load(stored) == b"abc"


async def test_other_bytes_than_were_stored_are_never_served(store: BlobStore) -> None:
    blobs = Blobs(store, new_id)
    stored = await blobs.put(new_id(), b"x" * 3 * _MIB)
    for wrong in (
        Stored(stored.key, stored.size, "0" * 64),
        Stored(stored.key, stored.size - 1, stored.sha256),
        Stored(stored.key, stored.size + 1, stored.sha256),
    ):
        seen = SimpleNamespace(size=0)

        async def read(bad: Stored = wrong, seen: SimpleNamespace = seen) -> None:
            async for chunk in blobs.read(bad):
                seen.size += len(chunk)

        assert isinstance(await _raised(read()), CorruptError)
        assert seen.size < wrong.size  # so nobody takes it for the whole


async def test_more_than_the_limit_leaves_nothing(store: BlobStore) -> None:
    blobs = Blobs(store, new_id)

    error = await _raised(blobs.put(new_id(), _several(b"x" * _MIB, b"x"), limit=_MIB))

    assert isinstance(error, TooLargeError)
    assert await _keys(store) == []


async def test_large_payloads_move_and_come_back_and_small_ones_stay(store: BlobStore) -> None:
    blobs = Blobs(store, new_id)
    small, large = '"ü"', f'"{"ü" * 40_000}"'

    kept = await blobs.shelve(new_id(), large)

    assert await blobs.shelve(new_id(), small) == small
    assert len(kept) < 500  # noqa: PLR2004 - what a row should bear
    assert moved(kept) is not None
    assert (await blobs.fetch(kept), await blobs.fetch(small)) == (large, small)
    await blobs.drop(kept)
    await blobs.drop(small)
    assert await _keys(store) == []


async def test_what_belongs_to_a_job_is_forgotten_with_it(store: BlobStore) -> None:
    blobs, mine = Blobs(store, new_id), new_id()
    for _ in range(3):
        await blobs.put(mine, b"x")
    other = await blobs.put(new_id(), b"y")

    await blobs.forget(mine)
    await blobs.forget(new_id())

    assert await _keys(store) == [other.key]


async def test_every_error_is_ours(store: BlobStore) -> None:
    for wrong in ("", "x", "../x"):
        assert isinstance(await _raised(store.read(wrong, 0, 1)), OutlastError)
