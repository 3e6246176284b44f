"""Many worlds: in shares, each in a process of its own, and what to say of one that failed."""

import platform
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from outlast.testing.sim.world import Outcome, Plan, shrink, simulate

SHARE: Final = 50  # seeds that a process runs at a time


def judge(seeds: range) -> tuple[list[Outcome], int, Counter[str]]:
    """Run seeds; return the outcomes that failed, the virtual time and what happened in all."""
    failed, virtual_us, tally = [], 0, Counter[str]()
    for seed in seeds:
        outcome = simulate(Plan.of(seed))
        virtual_us += outcome.virtual_us
        tally += outcome.tally
        if outcome.faults:
            failed.append(outcome)
    return failed, virtual_us, tally


def report(outcome: Outcome) -> str:
    """Say what failed, with the smallest set of faults that does it, and how to see it again."""
    small = shrink(outcome)
    lines = [
        f"FAILED {outcome.plan}",
        *(f"  {fault}" for fault in outcome.faults[:5]),
        f"shrunk: {small.plan} (jobs {', '.join(map(str, small.plan.jobs))})",
        *(f"  {fault}" for fault in small.faults[:5]),
        f"again: python -m outlast.testing.sim {outcome.plan.seed}",
        f"  Python {platform.python_version()}, digest {outcome.digest}",
    ]
    return "\n".join(lines)


def judge_many(
    first: int, count: int, processes: int
) -> Iterator[tuple[list[Outcome], int, Counter[str]]]:
    """Run many seeds in processes of their own; yield what `judge` says of each share."""
    end = first + count
    shares = [range(at, min(at + SHARE, end)) for at in range(first, end, SHARE)]
    # Fresh processes: a fork of one that has threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge, shares)
