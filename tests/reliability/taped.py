"""A job's life on a disk that remembers: what a crash at any of its acts would have left."""

import asyncio
import shutil

from outlast.core.errors import OutlastError
from outlast.testing.disk import Disk, everything, nothing_unsynced, some_of_it
from tests.reliability import crash, crash_jobs

KEEPS = {
    "all processes are killed": everything,
    "power is cut": nothing_unsynced,
    "power is cut, and some was written, torn": some_of_it(1),
}


class Taped:
    """One life of the job, in this process: API, worker and upkeep on one disk."""

    def __init__(self, folder):
        self._folder = folder
        self._witness = folder / "witness"
        self.disk = Disk()
        live = folder / "live"
        live.mkdir()
        with self.disk:
            crash_jobs.told.append(self.disk.mark)
            try:
                asyncio.run(crash.live(crash.app_of(live), self._witness, self._acknowledged))
            finally:
                crash_jobs.told.remove(self.disk.mark)

    def _acknowledged(self, job_id):
        self.disk.mark(f"acknowledged {job_id}")

    @property
    def points(self):
        """Return the points at which something else is left than just before."""
        return [act.number for act in self.disk.tape if act.kind != "mark"]

    def wrong_at(self, point, keep):
        """Crash before an act, let everybody come back, and return what is wrong then."""
        place = self._folder / "crashed"
        self.disk.image(point, place, keep=keep)
        try:
            # A file is in the store before its artifact is in the ledger.
            (place / "blobs").symlink_to(self._folder / "live" / "blobs")
            marks = [mark.split() for mark in self.disk.marks(point)]
            effects = [" ".join(words) + "\n" for kind, *words in marks if kind == "effect"]
            self._witness.write_text("".join(effects), "utf-8")
            acknowledged = [words[0] for kind, *words in marks if kind == "acknowledged"]
            return asyncio.run(crash.wrong_after(place, self._witness, acknowledged))
        except OutlastError as error:
            return [f"it can't be used any more: {error}"]
        finally:
            shutil.rmtree(place)
