"""A power cut takes what the disk was never told to keep, and nothing that was acknowledged.

That a lesser durability would lose jobs is shown in `test_crash_points.py`, on a disk whose cache
is ours: here the kernel may write back just in time.
"""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from outlast.ledger.sqlite import SqliteLedger

WRITER = Path(__file__).with_name("writer.py")
ACKNOWLEDGED = 40


def run(*command):
    return subprocess.run(command, check=False, capture_output=True, text=True)


@contextmanager
def mounted(image, folder):
    """Mount a disk image; on a machine that can't, the test says so and is not run."""
    folder.mkdir(exist_ok=True)
    done = run("mount", "-o", "loop", str(image), str(folder))
    if done.returncode:
        pytest.skip(f"no loop mounts here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a writer that was just killed may still be letting go.
        assert run("umount", "-l", str(folder)).returncode == 0


def new_disk(folder):
    """Make an empty disk: an ext4 file system in a file."""
    folder.mkdir(exist_ok=True)
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(48 * 1024 * 1024)
    done = run("mkfs.ext4", "-q", "-F", str(image))
    assert done.returncode == 0, done.stderr
    return image


def power_cut(disk, folder):
    """Cut the power while a process submits; return what was acknowledged, and the disk."""
    with mounted(disk, folder / "running") as place:
        command = [sys.executable, str(WRITER), str(place / "ledger.db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            said = [writer.stdout.readline().strip() for _ in range(ACKNOWLEDGED)]
            # What the disk holds at this instant: the page cache is not in it.
            cut = shutil.copy(disk, folder / "cut.img")
            writer.kill()
    return said, Path(cut)


async def lost_in_a_power_cut(disk, folder):
    """Return how many acknowledged jobs are gone after a power cut."""
    said, cut = power_cut(disk, folder)
    with mounted(cut, folder / "after") as place:
        if not (place / "ledger.db").exists():
            return len(said)
        ledger = SqliteLedger(str(place / "ledger.db"))
        try:
            await ledger.migrate()
            assert (await ledger.check())["store"] == "sqlite"
            return (await ledger.get(said)).count(None)
        finally:
            await ledger.close()


@pytest.mark.fault("F38")
@pytest.mark.root
async def test_no_acknowledged_job_is_lost_in_a_power_cut(tmp_path):
    assert await lost_in_a_power_cut(new_disk(tmp_path), tmp_path) == 0
