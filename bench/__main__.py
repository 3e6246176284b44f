"""`python -m bench`: measure everything, print one table, append it to the results as JSON."""

import argparse
import asyncio
import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

import apsw

from bench import figures, http, limits, long, spike
from bench.figures import Figure
from outlast.core.instant import to_rfc3339
from outlast.system import CLOCK

SUITES = {
    "submit": figures.submits,
    "http": http.posts,
    "drain": figures.drains,
    "pickup": figures.pickups,
    "limits": limits.shares,
    "long": long.checkpoints,
    "idle": figures.idles,
    "recovery": figures.recoveries,
    "spike": spike.spikes,
}


def _line(figure: Figure) -> str:
    raw = " " * 10
    if figure.floor is not None:
        raw = f"{figure.floor:>10,.0f}" if figure.floor >= 1_000 else f"{figure.floor:>10,.3g}"
    ratio = f"{figure.ratio:>6.2f}" if figure.ratio is not None else " " * 6
    value = f"{figure.value:,.0f}" if figure.value >= 1_000 else f"{figure.value:,.3g}"
    verdict = {True: "yes", False: "NO", None: ""}[figure.reached]
    return f"{figure.name:<30}{value:>10} {figure.unit:<7}{raw}{ratio}  {figure.goal:<7}{verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(SUITES), help=", ".join(SUITES))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--results", type=Path, default=Path("bench/results/results.jsonl"))
    given = parser.parse_args()
    unknown = set(given.suites) - SUITES.keys()
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)} (known: {', '.join(SUITES)})")
    print(f"{'figure':<30}{'value':>10} {'unit':<7}{'floor':>10}{'ratio':>6}  goal   reached")
    found: list[Figure] = []
    for name in given.suites:
        # Beside the code, not in /tmp, which may be memory: a commit must reach a disk.
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
            rows = asyncio.run(SUITES[name](Path(folder), given.scale))
        found += rows
        for figure in rows:
            print(_line(figure), flush=True)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "at": to_rfc3339(CLOCK.now_us()),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "scale": given.scale,
        "figures": [{**asdict(f), "ratio": f.ratio} for f in found],
    }
    with given.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
