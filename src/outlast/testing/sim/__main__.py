"""Run simulated worlds: `python -m outlast.testing.sim SEED`, or `--seeds N --from FIRST`."""

import argparse
import sys
from collections import Counter

from outlast.core.limits import DAY, SECOND
from outlast.system import CLOCK
from outlast.testing.sim.many import SHARE, judge_many, report
from outlast.testing.sim.world import Outcome, Plan, simulate


def _many(first: int, count: int, processes: int) -> int:
    began, done, virtual_us, tally = CLOCK.elapsed_us(), 0, 0, Counter[str]()
    failures: list[Outcome] = []
    for failed, virtual, happened in judge_many(first, count, processes):
        failures += failed
        virtual_us += virtual
        tally += happened
        done = min(done + SHARE, count)
        rate = done * SECOND / max(1, CLOCK.elapsed_us() - began)
        line = f"{done}/{count} seeds, {rate:.0f}/s, {_days(virtual_us)}"
        print(f"\r{line}, {len(failures)} failed ", end="", file=sys.stderr, flush=True)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    for outcome in failures[:10]:
        print(report(outcome))  # noqa: T201
    print(", ".join(f"{name} {times}" for name, times in tally.most_common()))  # noqa: T201
    verdict = f"{len(failures)} of {count} seeds FAILED" if failures else f"all {count} seeds hold"
    print(f"{verdict}, from {first}; {_days(virtual_us)}")  # noqa: T201
    return 1 if failures else 0


def _days(virtual_us: int) -> str:
    return f"{virtual_us / DAY:.1f} virtual days"


def main(arguments: list[str] | None = None) -> int:
    """Run one seed and show it, or many and say whether all promises hold."""
    parser = argparse.ArgumentParser(prog="python -m outlast.testing.sim", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="run this one")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many (default 2000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=2, help="side by side (default 2)")
    asked = parser.parse_args(arguments)
    if asked.seed is None:
        return _many(asked.first, asked.seeds, asked.processes)
    outcome = simulate(Plan.of(asked.seed))
    if outcome.faults:
        print(report(outcome))  # noqa: T201
        return 1
    print(f"{outcome.plan}: holds, digest {outcome.digest}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
