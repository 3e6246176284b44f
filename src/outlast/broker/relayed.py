"""A ledger that tells brokers, after the fact, which jobs became runnable by what it was told."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from outlast.broker import open_broker
from outlast.broker.protocol import Broker, Ticket
from outlast.broker.publisher import Publisher
from outlast.broker.routes import Routes
from outlast.core.errors import OutlastError
from outlast.core.job import Inserted, NewJob, Transition, Verdict
from outlast.core.status import Status
from outlast.ledger.protocol import Ledger


def relayed(
    ledger: Ledger, routes: Routes, opener: Callable[[str], Broker] = open_broker
) -> Ledger:
    """Return a ledger that publishes what becomes runnable; the same one if no queue has a broker.

    Closing it closes both. Raises as `open_broker` does.
    """
    if not routes.urls:
        return ledger
    return cast("Ledger", Relayed(ledger, Publisher(routes, opener)))


def publisher_of(ledger: Ledger) -> Publisher | None:
    """Return what gives tickets for a ledger; None: no queue has a broker."""
    return ledger.publisher if isinstance(ledger, Relayed) else None


class Relayed:
    """Passes every call on; after the commit, it gives tickets of what can run now."""

    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        self._ledger = ledger
        self.publisher = publisher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)  # which nothing becomes runnable by

    async def insert(
        self, jobs: Sequence[NewJob], *, atomic: bool = False, now: int | None = None
    ) -> list[Inserted]:
        made = await self._ledger.insert(jobs, atomic=atomic, now=now)
        self.publisher.give(
            Ticket(job.queue, one.id)
            for job, one in zip(jobs, made, strict=True)
            if one.outcome == "created" and not job.delay_from(one.at_us)
        )
        await self._tell([one.id for one in made if one.outcome == "replaced"])
        return made

    async def commit(
        self, transitions: Sequence[Transition], *, now: int | None = None
    ) -> list[Verdict]:
        verdicts = await self._ledger.commit(transitions, now=now)
        await self._tell(
            [
                change.id
                for change, verdict in zip(transitions, verdicts, strict=True)
                if verdict.accepted and _frees(change)
            ]
        )
        return verdicts

    async def _tell(self, ids: list[str]) -> None:
        """Give tickets of those of these jobs that can run: a transition doesn't say the queue."""
        if not ids:
            return
        try:
            rows = await self._ledger.get(ids)
        except OutlastError:
            return  # the change itself was accepted; the relay finds what it made runnable
        self.publisher.give(
            Ticket(row.queue, row.id)
            for row in rows
            if row is not None and row.status is Status.PENDING
        )

    async def close(self) -> None:
        await self.publisher.close()
        await self._ledger.close()


def _frees(change: Transition) -> bool:
    return change.target is Status.PENDING or (change.target is None and change.queue is not None)
