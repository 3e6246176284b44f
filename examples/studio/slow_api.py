"""Call an HTTP API that allows few calls a second, and wait exactly as long as it asks."""

import asyncio
import csv
import io
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

from outlast import Job, Retry

CHUNK_CALLS = 10
TABLE_NAME = "distances.csv"
# Longer waits are given back to the queue, so that the worker can do something else meanwhile.
WAIT_SECONDS_MAX = 30.0
TRIES_MAX = 20


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a destination is."""

    destination: str
    km: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some answers, and how often the API asked to wait."""

    distances: list[Distance]
    waits: int


@dataclass(frozen=True, slots=True)
class Distances:
    """The table of distances; it is also saved as an artifact."""

    origin: str
    file: str
    calls: int
    waits: int
    farthest: Distance


async def distances(job: Job, origin: str, destinations: list[str]) -> Distances:
    """Ask for the distance to each destination; each chunk of calls is one step."""
    if not destinations:
        raise ValueError("destinations: expected at least one, got none")
    chunks: list[Chunk] = []
    async with DistanceApi(os.environ.get("STUDIO_API", "http://127.0.0.1:8026")) as api:
        for start in range(0, len(destinations), CHUNK_CALLS):
            part = destinations[start : start + CHUNK_CALLS]
            name = f"calls {start + 1} to {start + len(part)}"
            chunks.append(await job.step(name, ask_chunk, job, api, origin, part))
            job.progress(start + len(part), len(destinations), "asking")
    found = [distance for chunk in chunks for distance in chunk.distances]
    artifact = await job.save(TABLE_NAME, table(origin, found))
    waits = sum(chunk.waits for chunk in chunks)
    farthest = max(found, key=lambda distance: distance.km)
    return Distances(origin, artifact.name, calls=len(found), waits=waits, farthest=farthest)


async def ask_chunk(job: Job, api: "DistanceApi", origin: str, destinations: list[str]) -> Chunk:
    """Ask for some distances, one after the other."""
    found, waits = [], 0
    for destination in destinations:
        km, waited = await api.distance(job, origin, destination)
        found.append(Distance(destination, km))
        waits += waited
    return Chunk(found, waits)


class DistanceApi:
    """A client of the distance API that waits when it is told to."""

    def __init__(self, address: str) -> None:
        # A worker that calls no API should not carry the HTTP client.
        import httpx  # noqa: PLC0415

        self._client = httpx.AsyncClient(base_url=address, timeout=30)
        self._away = httpx.ConnectError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.aclose()

    async def distance(self, job: Job, origin: str, destination: str) -> tuple[float, int]:
        """Ask for one distance; return it, and how often the API asked to wait."""
        for waits in range(TRIES_MAX):
            query = {"from": origin, "to": destination}
            try:
                response = await self._client.get("/distance", params=query)
            except self._away as error:
                raise Retry(f"the API is away: {error}", after="30s", counts=False) from error
            if response.status_code not in {429, 503}:
                response.raise_for_status()
                return float(response.json()["km"]), waits
            seconds = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            if seconds > WAIT_SECONDS_MAX:
                raise Retry(f"the API asked to wait {seconds:.0f} s", after=seconds, counts=False)
            job.log(f"waiting {seconds:g} s, as the API asked", status=response.status_code)
            await asyncio.sleep(seconds)
        raise Retry(
            f"the API was busy {TRIES_MAX} times in a row", after=WAIT_SECONDS_MAX, counts=False
        )


def retry_after(header: str | None, now: datetime) -> float:
    """Read a Retry-After header, seconds or a date (RFC 9110, 10.2.3); without one it is 1 s."""
    if header is None:
        return 1.0
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 1.0
    return max(0.0, (moment - now).total_seconds())


def table(origin: str, found: list[Distance]) -> bytes:
    """Write the distances as CSV, nearest first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("from", "to", "km"))
    ordered = sorted(found, key=lambda distance: distance.km)
    writer.writerows((origin, distance.destination, distance.km) for distance in ordered)
    return buffer.getvalue().encode()
