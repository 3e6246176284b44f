"""What it costs a long job to be able to go on: steps, cursors, and reading them back."""

from pathlib import Path

from bench import floor
from bench.app import app, looped, stepped
from bench.figures import Figure, use
from bench.fleet import fleet

_EVERY = 100


async def checkpoints(folder: Path, scale: float) -> list[Figure]:
    """Measure steps and cursor saves of one job in a worker, beside synced one-row commits."""
    count = int(2_000 * scale) + 100
    db = floor.open_file(folder / "floor.db")
    before = floor.submits(db, count)
    place = folder / "long"
    place.mkdir()
    await use(place)
    with fleet(place):
        steps, again = await (await stepped.submit(count=count)).result(timeout=600)
        saves = await (await looped.submit(count=count, every=1)).result(timeout=600)
        items = await (await looped.submit(count=count * 20, every=_EVERY)).result(timeout=600)
        alone = await (await looped.submit(count=count * 20, every=None)).result(timeout=600)
    await app.close()
    raw = (before + floor.submits(db, count)) / 2
    db.close()
    return [
        Figure("steps, one after another", steps, "/s", raw, "≥ 0.25", steps >= 0.25 * raw),
        Figure("stored steps read back", again, "/s", steps, "≥ 10", again >= 10 * steps),
        Figure("resume, saved at each item", saves, "/s", raw, "≥ 0.25", saves >= 0.25 * raw),
        Figure(f"resume, saved every {_EVERY}", items, "/s", alone),
    ]
