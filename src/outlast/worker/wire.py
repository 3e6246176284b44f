"""The lines between a worker and a job in its own process: one JSON object each way a line."""

import asyncio
import json
from dataclasses import asdict
from typing import Any, Final

from outlast.core.job import Event, Lease
from outlast.core.retry import Course

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
FD: Final = "OUTLAST_CELL_FD"


async def read(stream: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream."""
    line = await stream.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def write(stream: asyncio.StreamWriter, **message: Any) -> None:
    """Write one message."""
    stream.write(json.dumps(message).encode() + b"\n")


def lease_out(lease: Lease) -> dict[str, Any]:
    """Write a lease as JSON values."""
    return lease._asdict()


def lease_in(values: dict[str, Any]) -> Lease:
    """Read what `lease_out` wrote."""
    return Lease(**values)


def events_out(events: list[Event]) -> list[dict[str, Any]]:
    """Write events as JSON values."""
    return [asdict(event) for event in events]


def events_in(values: list[dict[str, Any]]) -> list[Event]:
    """Read what `events_out` wrote."""
    return [Event(**value) for value in values]


def course_out(course: Course) -> dict[str, Any]:
    """Write what follows an error; a backoff can hold a function, so its delay is written."""
    return {"again": course.again, "after_us": course.after_us, "counts": course.counts}


def course_in(values: dict[str, Any]) -> Course:
    """Read what `course_out` wrote."""
    return Course(**values)
