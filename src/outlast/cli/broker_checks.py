"""What the doctor sees of the brokers: whether they answer, and what is wrong with how they are."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from pydantic_core import from_json

from outlast.broker import open_broker, shown
from outlast.broker.routes import Routes
from outlast.cli.check import Check
from outlast.core.errors import OutlastError
from outlast.core.job import Filter
from outlast.core.status import Status
from outlast.ledger import Ledger

_WARNING: Final = "warning: "
_ANSWER_S: Final = 15.0


async def of_brokers(ledger: Ledger, routes: Routes, named: Iterable[str]) -> AsyncIterator[Check]:
    """Look at each broker for its queues: those with settings, with workers or with jobs."""
    queues = {*named}
    for doc in await ledger.docs("worker"):
        queues |= set(from_json(doc.doc).get("queues", ())) if doc.lease_until else set()
    waiting = await ledger.count(Filter(status=Status.PENDING), "queue")
    groups = routes.grouped(sorted(queues | {queue for queue, *_ in waiting}))
    for url in routes.urls:
        yield await _of_broker(url, groups.get(url, []))


async def _of_broker(url: str, queues: list[str]) -> Check:
    try:
        broker = open_broker(url)
        try:
            async with asyncio.timeout(_ANSWER_S):
                facts = await broker.check(queues)
        finally:
            await broker.close()
    except OutlastError as error:
        hint = error.hint or "see whether it is up and within reach"
        return Check("broker", ok=False, detail=error.message, hint=hint)
    except TimeoutError:
        detail = f"{shown(url)}: no answer within {_ANSWER_S:g} s"
        return Check("broker", ok=False, detail=detail, hint="see whether it is up")
    warnings = [
        f"{name}: {told.removeprefix(_WARNING)}"
        for name, told in facts.items()
        if told.startswith(_WARNING)
    ]
    plain = [f"{name} {told}" for name, told in facts.items() if not told.startswith(_WARNING)]
    detail = f"{shown(url)}: {', '.join(plain)}"
    return Check("broker", ok=not warnings, detail=detail, hint="; ".join(warnings) or None)
