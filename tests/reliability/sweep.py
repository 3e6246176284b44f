"""Crash a job's life at every one of its acts on the disk, and say what is wrong afterwards.

Two ways: a real process is killed before its n-th write, sync, rename or removal while the others
live on (by strace where it may attach, and by its own disk everywhere), and the whole machine dies
at each act, with and without what was never synced.

usage: python tests/reliability/sweep.py [--every N] [--only NAME]…
"""

import argparse
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "worker")]

from tests.reliability.lives import Life, template  # noqa: E402
from tests.reliability.taped import KEEPS, Taped  # noqa: E402
from tests.reliability.victims import can_trace  # noqa: E402

COMPONENTS = ("api", "worker", "supervisor")
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink")
MOST = 1_000  # a life with more acts than that is not one that ends


@contextmanager
def quick_place():
    """Give a folder on a disk of memory, where syncs cost nothing, if there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


class Count:
    """How many points were tried, and what was wrong after which."""

    def __init__(self):
        self.points = 0
        self.violations = []

    def note(self, where, found):
        self.points += 1
        if found:
            self.violations.append((where, found))
            print(f"VIOLATION {where}: {found}", flush=True)


def sweep_disk(life, name, count, every):
    """Kill a process before each act on its own disk, until it lives through them all."""
    for point in range(0, MOST, every):
        killed, found = life.wrong(point=point)
        if not killed:
            return
        count.note(f"{name} killed before act {point}", found)
    raise RuntimeError(f"{name}: still killed at act {MOST}")


def sweep_strace(life, name, count, every):
    """Kill a process before each of its system calls that change a disk."""
    for call in CALLS:
        for number in range(1, MOST, every):
            killed, found = life.wrong(strace=(call, number))
            if not killed:
                break
            count.note(f"{name} killed before {call} {number}", found)


def sweep_machine(folder, count, every):
    """Stop everything at each act, with three ideas of what is left on the disk."""
    folder.mkdir()
    taped = Taped(folder)
    for name, keep in KEEPS.items():
        for point in taped.points[::every]:
            count.note(f"{name} before act {point}", taped.wrong_at(point, keep))


def sweeps(folder, every):
    """Return each sweep by its name."""
    found = {"machine": lambda count: sweep_machine(folder / "machine", count, every)}
    empty = template(folder / "empty")
    engines = {"disk": sweep_disk, **({"strace": sweep_strace} if can_trace() else {})}
    for engine, sweep in engines.items():
        for name in COMPONENTS:
            life = Life(empty, folder / "point", name)
            found[f"{name} by {engine}"] = lambda count, sweep=sweep, life=life, name=name: sweep(
                life, name, count, every
            )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take every n-th point only")
    parser.add_argument("--only", action="append", help="machine, api, worker or supervisor")
    given = parser.parse_args()
    points, violations = 0, 0
    with quick_place() as folder:
        for name, sweep in sweeps(folder, given.every).items():
            if given.only and name.split()[0] not in given.only:
                continue
            count = Count()
            sweep(count)
            print(f"{name:22} {count.points:5} points, {len(count.violations)} violations",
                  flush=True)  # fmt: skip
            points += count.points
            violations += len(count.violations)
    if not can_trace():
        print("NOT RUN: the strace engine, which needs root and strace")
    print(f"crash points: {points} · violations: {violations}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
