"""Reads the events of all jobs so that none is passed by which commits later."""

from typing import NamedTuple

from outlast.core.job import Event
from outlast.ledger.postgres.connection import Session


class _Mark(NamedTuple):
    """A position up to which nothing comes any more once transactions before `tx` have ended."""

    position: int
    tx: str


_NONE = _Mark(0, "0")


class Histories:
    """What one process has seen settle; a missing position is asked about once, not at each read.

    A mark stays until its transactions have ended, so that others which begin meanwhile can't put
    that off.
    """

    def __init__(self) -> None:
        self._settled = 0
        self._mark = _NONE

    async def of_all(self, db: Session, after: int, limit: int, type_: str | None) -> list[Event]:
        """Return events after a position, up to the first that somebody may still come before."""
        events, is_whole = await self._read(db, after, limit, type_)
        if not is_whole and self._mark is _NONE:
            position, tx = await db.sole("history_mark")
            self._mark = _Mark(position, tx)
            events, _ = await self._read(db, after, limit, type_)
        return events

    async def _read(
        self, db: Session, after: int, limit: int, type_: str | None
    ) -> tuple[list[Event], bool]:
        mark = self._mark
        rows = await db.rows(
            "history_of_all",
            after=after,
            limit=limit,
            type=type_,
            settled=self._settled,
            mark_position=mark.position,
            mark_tx=mark.tx,
        )
        found = [(Event(*event), is_final) for *event, is_final, _ in rows]
        if rows and rows[0][-1]:
            self._settled = max(self._settled, mark.position)
            if self._mark is mark:
                self._mark = _NONE
        final = [event for event, is_final in found if is_final]
        return final, len(final) == len(found)
