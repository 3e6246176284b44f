"""The loop that turns the ticks of schedules into jobs: exactly one each, on however many nodes."""

import json
import logging
from dataclasses import replace
from typing import Final

from outlast.core.errors import OutlastError, UnavailableError
from outlast.core.instant import to_rfc3339
from outlast.core.job import Doc, NewJob
from outlast.core.limits import DAY, SECOND, SWEEP_US, TICKS_AT_ONCE_MAX
from outlast.core.ports import Clock
from outlast.core.queue import QueueRules
from outlast.core.schedule import KIND, Fire, Move, Rest, Schedule, decide, from_doc, to_doc
from outlast.ledger.protocol import Ledger

_LOG: Final = logging.getLogger("outlast.upkeep")


class Ticker:
    """Fires what is due; needs no leader.

    Each node submits the job of the tick that the record names, under the key and the ID of that
    tick, and only then moves the record on, if it still has the version that was read. Who comes
    second gets a duplicate; whoever dies in between leaves a tick that the next one fires again,
    as a duplicate. The ledger's clock says what is due, so a node's own may be wrong.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._look_at = 0  # on the monotonic clock
        self._moment = 0  # of the last round, on the ledger's clock
        self._quiet: dict[str, tuple[int, int]] = {}  # by key: in this version, until then
        self._told: dict[str, str] = {}  # what was logged of each record that can't be used

    async def tick(self, now: int | None = None) -> float:
        """Fire what is due; return the seconds until there may be more."""
        elapsed = self._clock.elapsed_us()
        if now is None and elapsed < self._look_at:
            return (self._look_at - elapsed) / SECOND
        moment = await self._ledger.now() if now is None else now
        wait = await self._round(moment, now)
        self._look_at = elapsed + wait
        return wait / SECOND

    async def _round(self, moment: int, now: int | None) -> int:
        """Go through all schedules; return the microseconds until the next tick, or a sweep."""
        waits = [SWEEP_US]
        declared: set[str] | None = None
        if moment < self._moment:
            self._quiet.clear()  # the clock went back: every tick may be another now
        self._moment = moment
        for doc in await self._ledger.docs(KIND):
            version, until = self._quiet.get(doc.key, (0, 0))
            if version == doc.version and moment < until:
                waits.append(until - moment)
                continue
            try:
                schedule = from_doc(doc.key, doc.doc)
                if schedule.source == "code":
                    declared = await self._declared(moment) if declared is None else declared
                    if schedule.name not in declared:
                        continue  # no living worker's code has it: its task may be gone as well
                waits.append(await self._advance(doc, schedule, moment, now))
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad record must not stop the others
                await self._say(doc, error, moment)
        return max(0, min(waits))

    async def _declared(self, moment: int) -> set[str]:
        """Return the schedules that the code of the living workers has."""
        names: set[str] = set()
        for doc in await self._ledger.docs("worker"):
            if (doc.lease_until or 0) > moment:
                names.update(json.loads(doc.doc).get("schedules", ()))
        return names

    async def _advance(self, doc: Doc, schedule: Schedule, moment: int, now: int | None) -> int:
        """Do what a schedule needs; return the microseconds until it needs something again."""
        version = doc.version
        for _ in range(TICKS_AT_ONCE_MAX):
            step = decide(schedule, moment)
            if isinstance(step, Rest):
                until = moment + DAY if step.until is None else step.until
                self._quiet[doc.key] = (version, until)
                return until - moment
            then = step.then if isinstance(step, Move) else await self._fire(step, now)
            if isinstance(then, str):
                await self._keep_error(schedule, version, then, moment)
                return SWEEP_US
            if not await self._ledger.put(KIND, doc.key, to_doc(then), version=version):
                return SWEEP_US  # another node was here, or a person: look again
            schedule, version = then, version + 1
        return 0

    async def _fire(self, due: Fire, now: int | None) -> Schedule | str:
        """Submit a tick's job; return what to keep then, or why the tick has to wait."""
        job = await self._bound(due.job)
        (made,) = await self._ledger.insert([job], now=now)
        if made.outcome == "full":
            return f"queue {job.queue} is at its limit of {job.max_depth} waiting jobs"
        if made.outcome == "quota":
            return f"tenant {job.tenant} is at its limit of waiting jobs"
        then = replace(due.then, last_job_id=made.id)
        if made.outcome == "conflict":
            # Somebody submitted a job under this very key. Waiting would not help.
            message = f"key {job.key} belongs to job {made.id}, which is no tick"
            error = {"message": message, "at": to_rfc3339(made.at_us)}
            return replace(then, error=error)
        return then

    async def _bound(self, job: NewJob) -> NewJob:
        """Let what was said of its queue at run time bound a job."""
        rules = QueueRules(max_depth=job.max_depth)
        for doc in await self._ledger.docs("queue", job.queue):
            rules = rules.changed(json.loads(doc.doc))
        return replace(job, max_depth=rules.admits)

    async def _say(self, doc: Doc, error: Exception, moment: int) -> None:
        """Tell why a schedule can't tick: in the log, and in its record if that can be read."""
        if self._told.get(doc.key) == str(error):
            return
        self._told[doc.key] = str(error)
        _LOG.warning("schedule %s can't tick: %s", doc.key, error)
        try:
            schedule = from_doc(doc.key, doc.doc)
        except OutlastError:
            return
        await self._keep_error(schedule, doc.version, str(error), moment)

    async def _keep_error(
        self, schedule: Schedule, version: int, message: str, moment: int
    ) -> None:
        """Write why a tick has no job, once for each reason."""
        if schedule.error is None or schedule.error["message"] != message:
            error = {"message": message, "at": to_rfc3339(moment)}
            said = to_doc(replace(schedule, error=error))
            await self._ledger.put(KIND, schedule.key, said, version=version)
