"""`python -m bench`: measure everything, print one table, append it to the results as JSON."""

import argparse
import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import brokers, figures, http, limits, long, postgres, results, spike
from bench.figures import Figure

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
    "postgres": postgres.suite,
    "brokers": brokers.suite,
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
    parser.add_argument("--results", type=Path, default=results.RESULTS)
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
    measured = [{**asdict(figure), "ratio": figure.ratio} for figure in found]
    results.append(given.results, given.scale, figures=measured)


if __name__ == "__main__":
    main()
