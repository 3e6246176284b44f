"""Changing a job that waits: its time, its priority, its queue, how often it is tried."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json

from outlast.core import transition
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError
from outlast.core.job import Transition
from outlast.core.limits import ATTEMPTS_MAX, NAME_CHARS_MAX, PRIORITY_MAX, PRIORITY_MIN
from outlast.core.status import UNSTARTED, Status
from outlast.ledger import Ledger
from outlast.sdk.submission import Problems

CHANGES: Final = ("priority", "run_at", "queue", "max_attempts")
_TRIES: Final = 5


async def change(ledger: Ledger, job_id: str, given: Mapping[str, Any]) -> None:
    """Change a job that has not started; a `run_at` of None lets it run now.

    Raises InvalidInputError that lists all that is wrong, ConflictError for a job in another state.
    """
    problems = Problems()
    blank = _read(job_id, given, problems)
    run_at = problems.instant("run_at", given.get("run_at"))
    if problems.found:
        listed = "; ".join(f"{e['path']}: {e['message']}" for e in problems.found[:5])
        raise InvalidInputError(f"invalid request: {listed}", errors=problems.found)
    said = {name: _plain(given[name]) for name in CHANGES if name in given}
    for _ in range(_TRIES):
        (job,) = await ledger.get([job_id])
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        if job.status not in UNSTARTED:
            raise ConflictError(f"job {job_id} can't be changed: it is {job.status}")
        new = blank._replace(source=job.status, data=to_json(said).decode())
        if "run_at" in given:
            new = transition.moved(new, max(0, (run_at or 0) - await ledger.now()), run_at)
        (verdict,) = await ledger.commit([new])
        if verdict.accepted:
            return
    raise ConflictError(f"job {job_id} can't be changed: it keeps changing", hint="try again")


def _read(job_id: str, given: Mapping[str, Any], problems: Problems) -> Transition:
    for name in given:
        if name not in CHANGES:
            problems.say(f"{name:.80}", f"no such field; known: {', '.join(sorted(CHANGES))}")
    if not given:
        problems.say("", f"expected some of {', '.join(CHANGES)}")
    if "priority" in given:
        problems.whole("priority", given["priority"], PRIORITY_MIN, PRIORITY_MAX)
    if "max_attempts" in given:
        problems.whole("max_attempts", given["max_attempts"], 1, ATTEMPTS_MAX)
    if "queue" in given:
        problems.text("queue", given["queue"], NAME_CHARS_MAX)
    return Transition(
        job_id, Status.PENDING, None, None, "changed", priority=given.get("priority"),
        max_attempts=given.get("max_attempts"), queue=given.get("queue"),
    )  # fmt: skip


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
