"""How `outlast migrate --from … --to …` is told: what it does, how far it is, what went wrong."""

import sys
from contextlib import suppress
from typing import Final

from outlast.cli.output import show_facts, show_json
from outlast.core.errors import InvalidInputError
from outlast.core.limits import SECOND
from outlast.ledger import open_ledger
from outlast.ledger.move import TALLIED, Move, Progress, abort, open_source, open_target
from outlast.sdk.settings import placed
from outlast.system import CLOCK, new_id

_NAMES: Final = {"job": "jobs", "event": "events", "idempotency": "keys", "doc": "records"}


class _Teller:
    """Writes one line a step to the terminal's error stream, and counts on it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._step = ""

    def __call__(self, progress: Progress) -> None:
        if self._quiet or not (self._is_terminal or progress.step != self._step):
            return
        end = "\n" if not self._is_terminal else ""
        start = "\r\x1b[K" if progress.step == self._step else "\n" if self._step else ""
        start = start if self._is_terminal else ""
        told = f"{start}{progress.step}: {progress.jobs:,} jobs, {progress.events:,} events"
        with suppress(OSError):
            print(told, progress.detail, end=end, file=sys.stderr, flush=True)
        self._step = progress.step

    def close(self) -> None:
        if self._step and self._is_terminal and not self._quiet:
            print(file=sys.stderr)


async def move(from_: str, to: str, *, drain_s: float, dry: bool, as_json: bool) -> None:
    """Move a ledger, or say what would be moved."""
    here, there = placed(from_), placed(to)
    source, target = open_source(here, CLOCK), open_target(there, CLOCK)
    teller = _Teller(quiet=as_json)
    try:
        if source.place == target.place:
            raise InvalidInputError(
                f"--from and --to are the same place, {source.place}", hint="give another --to"
            )
        mark = await source.mark()
        if dry:
            await target.refuse_if_taken()
            there_are = {_NAMES[name]: (await source.tally(name))[0] for name in TALLIED}
            plan = {"from": source.place, "to": target.place, **there_are}
            show_json({"dry_run": True, **plan}) if as_json else show_facts(plan)
            return
        if mark is None:
            await _bring_up(here)
        one = Move(source, target, CLOCK, teller)
        arrived = await one.run(new_id(), drain_s)
        teller.close()
        facts = {
            "from": source.place,
            "to": target.place,
            **{_NAMES[name]: count for name, count in arrived.items()},
            "stopped_s": round(one.frozen_us / SECOND, 3),
        }
        show_json(facts) if as_json else show_facts(facts)
    finally:
        await target.close()
        await source.close()


async def take_back(from_: str, *, as_json: bool) -> None:
    """Take an unfinished move back."""
    source = open_source(placed(from_), CLOCK)
    try:
        mark = await abort(source)
    finally:
        await source.close()
    stage = None if mark is None else mark.stage
    if as_json:
        show_json({"from": source.place, "taken_back": stage is not None, "stage": stage})
    elif stage is None:
        print(f"{source.place} is not being moved")
    else:
        print(f"{source.place} is in use again; the move had come to: {stage}")


async def _bring_up(url: str) -> None:
    """Bring the source's schema up to this release, which is what the target will have."""
    ledger = open_ledger(url)
    try:
        await ledger.migrate()
        facts = await ledger.check()
        if facts["schema"] != facts["schema_newest"]:
            raise InvalidInputError(
                f"--from: the ledger still has what only an older release used (schema "
                f"{facts['schema']} of {facts['schema_newest']})",
                hint="run: outlast migrate --finish",
            )
    finally:
        await ledger.close()
