"""What the doctor looks at of the stream of events: whether it is there, and how far behind."""

from outlast.broker.topic import Topic, open_topic, read_plan, shown
from outlast.cli.check import Check
from outlast.cli.output import clean
from outlast.core.errors import OutlastError
from outlast.core.instant import to_rfc3339
from outlast.core.limits import MINUTE, SECOND
from outlast.ledger import Ledger
from outlast.upkeep.stream import KIND, cursor_of, last_position


async def of_stream(ledger: Ledger, url: str) -> list[Check]:
    """Look at the topic that events go to; nothing to look at when they go nowhere."""
    if not url:
        return []
    try:
        plan = read_plan(url)
        topic = open_topic(plan)
        return [await _of_topic(topic, url), await _of_cursor(ledger, plan.name)]
    except OutlastError as error:
        return [Check("events", ok=False, detail=error.message, hint=error.hint)]


async def _of_topic(topic: Topic, url: str) -> Check:
    try:
        facts = await topic.facts()
    finally:
        await topic.close()
    if not facts:
        told = "no such topic yet: it is made, unless create=no, when there is something to publish"
        return Check("events", ok=True, detail=f"{shown(url)}, {told}")
    told = f"{facts['partitions']} partitions, {facts['replicas']} replicas"
    return Check("events", ok=True, detail=f"{shown(url)}, {told}")


async def _of_cursor(ledger: Ledger, name: str) -> Check:
    doc = next(iter(await ledger.docs(KIND, name)), None)
    hint = "nobody publishes: give every outlast worker and outlast api the same setting events"
    if doc is None:
        return Check("events behind", ok=False, detail="nothing was ever published", hint=hint)
    cursor, now = cursor_of(doc), await ledger.now()
    waiting = await ledger.history(None, after=cursor.position, limit=1)
    number = max(0, await last_position(ledger) - cursor.position) if waiting else 0
    late_us = max(0, now - waiting[0].at) if waiting else 0
    told = f"up to {number} events, {late_us // SECOND} s"
    if cursor.missed is not None:
        told += f"; some may be missing from after {to_rfc3339(cursor.missed)[:16]}"
    is_held = (doc.lease_until or 0) > now
    told += f"; published by {clean(cursor.host)}" if is_held else "; published by nobody just now"
    if is_held:
        hint = "Kafka is slower than the jobs: give it more partitions, or ask what it waits for"
    return Check("events behind", ok=late_us <= MINUTE, detail=told, hint=hint)
