"""The table: one line a queue, with ratios to what the bare store did in the same run."""

import statistics
from collections.abc import Mapping

from bench.peers.measure import Row

HEAD = (
    f"{'queue':<24}{'submit/s':>9}{'×raw':>6}{'bulk/s':>9}{'×raw':>6}"
    f"{'drain 1/s':>10}{'×raw':>6}{'drain 2/s':>10}"
    f"{'pickup p50/p95/p99 ms':>24}{'kill -9 job':>13}{'worker':>11}{'idle MB':>9}"
)


def _number(value: float | None, width: int) -> str:
    if value is None:
        return f"{'–':>{width}}"
    return f"{value:>{width},.0f}" if value >= 100 else f"{value:>{width},.1f}"


def _ratio(value: float | None, floor: float | None) -> str:
    return f"{'–':>6}" if value is None or not floor else f"{value / floor:>6.2f}"


def recovery(row: Row, *, whole: bool) -> str:
    """Say after how long a killed job ran again: seconds, or that it did not while we waited."""
    seconds = row.kill_worker_s if whole else row.kill_job_s
    if seconds is not None:
        return f"{seconds:.2f} s"
    if row.waited_s is None:
        return "–"
    # Where one process is the whole worker, the other column tells it.
    return f"> {row.waited_s:.0f} s" if whole or row.is_tree else "="


def line(row: Row) -> str:
    """Render one row; what was not measured is a dash, never a number."""
    floor = row.floor
    has_bulk = row.about.get("has_bulk", True)
    late = "–" if row.pickup_ms is None else " / ".join(f"{ms:.1f}" for ms in row.pickup_ms)
    return (
        f"{row.name:<24}{_number(row.submit, 9)}{_ratio(row.submit, floor.get('one'))}"
        f"{_number(row.bulk, 9)}{'' if has_bulk else '°'}{_ratio(row.bulk, floor.get('bulk'))}"
        f"{_number(row.drain_1, 10)}{_ratio(row.drain_1, floor.get('drain'))}"
        f"{_number(row.drain_2, 10)}{late:>24}"
        f"{recovery(row, whole=False):>13}{recovery(row, whole=True):>11}"
        f"{_number(row.idle_mb, 9)}"
        + (f"\n    FAILED: {row.failed.splitlines()[0]}" if row.failed else "")
    )


def render(rows: list[Row], durability: Mapping[str, str]) -> str:
    """Return the whole table with what one must know to read it."""
    out = ["", HEAD, *(line(row) for row in rows), ""]
    out.append("° no call that takes many jobs: 64 callers at once, one for a blocking client")
    out.append("kill -9: of the process that runs the job, and of its worker with all processes,")
    out.append(
        "    which is started again after 1 s; a second worker stands by; = the same process"
    )
    out.append("×raw: beside what the bare store did just before, by its usual driver")
    for store in dict.fromkeys(row.store for row in rows):
        floors = [row.floor for row in rows if row.store == store and row.floor]
        means = {name: statistics.mean(f[name] for f in floors) for name in (floors or [{}])[0]}
        figures = ", ".join(f"{name} {value:,.0f}/s" for name, value in means.items())
        out.append(f"raw {store} (mean): {figures or 'not measured'}; {durability[store]}")
    for row in rows:
        versions = ", ".join(f"{n} {v}" for n, v in row.about.get("versions", {}).items())
        out.append(f"{row.name}: {versions or 'not known'}; runs {row.about.get('runs', '–')}")
        out.append(f"    {row.about.get('settings', '–')} [{row.about.get('source', '–')}]")
        out += [f"    FAILED: {text}" for text in row.failed.splitlines()]
    return "\n".join(out)
