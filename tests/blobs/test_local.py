"""The folder: what is put into it from outside is not followed, and nothing is half there."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outlast.blobs import Blobs, LocalStore, open_blobs
from outlast.core.errors import (
    CorruptError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from outlast.core.payload import Stored
from outlast.system import new_id

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
def blobs(folder):
    return open_blobs(str(folder))


def path_of(folder, stored):
    owner, _, name = stored.key.partition("/")
    return folder / owner[-2:] / owner / name


async def gather(chunks, into):
    async for chunk in chunks:
        into.append(chunk)


async def part(blobs, stored, start=0, end=1):
    return b"".join([chunk async for chunk in blobs.part(stored, start, end)])


@pytest.mark.parametrize("trick", ["link", "hard link", "folder link", "pipe", "device", "folder"])
async def test_nothing_but_a_plain_file_of_its_own_is_served(blobs, folder, tmp_path, trick):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    stored = await blobs.put(new_id(), b"secret")
    path = path_of(folder, stored)
    path.unlink()

    match trick:
        case "link":
            path.symlink_to(secret)
        case "hard link":
            path.hardlink_to(secret)
        case "folder link":
            path.parent.rmdir()
            (tmp_path / "elsewhere").mkdir()
            (tmp_path / "elsewhere" / path.name).write_bytes(b"secret")
            path.parent.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()

    with pytest.raises((NotFoundError, UnavailableError)):
        await blobs.load(stored)
    with pytest.raises((NotFoundError, UnavailableError)):
        await part(blobs, stored)


async def test_nothing_is_deleted_through_a_link(blobs, folder, tmp_path):
    stored = await blobs.put(new_id(), b"x")
    path = path_of(folder, stored)
    outside = tmp_path / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)

    await blobs.store.delete([stored.key])
    found = [blob async for portion in blobs.store.found() for blob in portion]

    assert found == []
    assert (outside / path.name).read_bytes() == b"x"


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/null", ".", "pipe"])
async def test_only_plain_files_are_taken_in(blobs, tmp_path, source):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises((InvalidInputError, IsADirectoryError)):
        await blobs.put(new_id(), tmp_path / source)


@pytest.mark.parametrize("at", [0, 100, 3 * MIB - 1])
async def test_a_flipped_bit_is_never_served(blobs, folder, at):
    stored = await blobs.put(new_id(), b"x" * 3 * MIB)
    assert await part(blobs, stored) == b"x"
    with path_of(folder, stored).open("r+b") as file:
        file.seek(at)
        file.write(b"y")

    seen = []
    with pytest.raises(CorruptError, match="damaged"):
        await gather(blobs.read(stored), seen)
    with pytest.raises(CorruptError, match="damaged"):
        await part(blobs, stored)

    assert sum(map(len, seen)) < stored.size


@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_of_another_length_is_never_served(blobs, folder, change):
    stored = await blobs.put(new_id(), b"x" * 1_000)
    os.truncate(path_of(folder, stored), 1_000 + change)

    with pytest.raises(CorruptError):
        await blobs.load(stored)
    with pytest.raises(CorruptError):
        await part(blobs, stored)


async def test_what_an_earlier_release_stored_is_still_read(blobs, folder):
    digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"
    (folder / digest[:2]).mkdir(parents=True)
    (folder / digest[:2] / digest).write_bytes(b"foo")

    assert await blobs.load(Stored(digest, 3, digest)) == b"foo"


async def test_a_cancelled_write_leaves_nothing(blobs, folder):
    begun = asyncio.Event()

    async def endless():
        while True:
            yield b"x" * MIB
            begun.set()

    task = asyncio.create_task(blobs.put(new_id(), endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()

    assert [path for path in folder.rglob("*") if path.is_file()] == []


HUNGRY = """
import asyncio, sys
from outlast.blobs import open_blobs
from outlast.system import new_id

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

async def main(url, mib):
    blobs = open_blobs(url)
    piece = bytes(1024 * 1024)
    async def pieces(n):
        for _ in range(n):
            yield piece
    warm = await blobs.put(new_id(), pieces(2))
    await blobs.load(warm)
    before = peak()
    stored = await blobs.put(new_id(), pieces(mib))
    size = 0
    async for chunk in blobs.read(stored):
        size += len(chunk)
    assert size == stored.size == mib * 1024 * 1024
    print(peak() - before)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
async def test_a_file_of_any_size_takes_little_memory(folder, tmp_path):
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", HUNGRY, str(folder), "256"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32  # MiB more than a small one


# The planted bugs: what these laws are for. -----------------------------------------------------


async def test_a_store_that_does_not_compare_hashes_is_caught(blobs, folder, monkeypatch):
    async def trusting(self, stored):
        async for chunk in self.store.read(stored.key, 0, stored.size):
            yield chunk

    monkeypatch.setattr(Blobs, "read", trusting)

    with pytest.raises(pytest.fail.Exception):
        await test_a_flipped_bit_is_never_served(blobs, folder, 100)


async def test_a_store_that_follows_links_is_caught(blobs, folder, tmp_path, monkeypatch):
    def trusting(self, key):
        owner, _, name = key.partition("/")
        return Path(self._folder / owner[-2:] / owner / name).open("rb")

    monkeypatch.setattr(LocalStore, "_open", trusting)

    with pytest.raises(pytest.fail.Exception):
        await test_nothing_but_a_plain_file_of_its_own_is_served(
            blobs, folder, tmp_path, "folder link"
        )


async def test_a_store_that_takes_any_key_is_caught(tmp_path, monkeypatch):
    from outlast.blobs import local
    from outlast.testing import blob_laws

    monkeypatch.setattr(local, "check_key", lambda key: key)

    with pytest.raises((AssertionError, OSError, ValueError)):
        await blob_laws.test_no_name_is_ever_a_path(open_blobs(str(tmp_path / "b")).store)
