"""A FastAPI service that hands slow work to workers and shows how far they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Response
from fastapi.responses import FileResponse, StreamingResponse

from outlast import Job, Outlast

jobs = Outlast()


@jobs.task
async def report(job: Job, pages: int) -> dict[str, int]:
    """Render a report, one page in each step: a killed worker's successor goes on after it."""
    for page in job.track(range(pages), "rendering"):
        await job.step(f"page {page}", len, "a page" * page)
    return {"pages": pages}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the ledger open for as long as the service runs."""
    async with jobs:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/jobs", jobs)  # the API and the dashboard


@app.post("/reports", status_code=202)
async def order(
    pages: int, response: Response, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, str]:
    """Take an order for a report; a repeated click with the same key is the same order."""
    handle = await report.options(key=idempotency_key).submit(pages=pages)
    response.headers["Location"] = f"/jobs/v1/jobs/{handle.id}"
    return {"id": handle.id, "events": f"/reports/{handle.id}/events"}


@app.get("/reports/{job_id}/events")
async def follow(job_id: str) -> StreamingResponse:
    """Tell a browser what happens to an order, as it happens."""

    async def stream() -> AsyncIterator[str]:
        async for event in jobs.handle(job_id).events():
            yield f"event: {event.type}\ndata: {event.data}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/")
async def page() -> FileResponse:
    """Show the page, which orders a report and follows it."""
    return FileResponse(Path(__file__).with_name("page.html"))
