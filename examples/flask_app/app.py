"""A Flask service that hands slow work to workers and says how it stands."""

from typing import Any

from flask import Flask, request, url_for

from outlast import Outlast, SyncJob, SyncOutlast
from outlast.core.errors import NotFoundError

jobs = Outlast()


@jobs.task
def report(job: SyncJob, pages: int) -> dict[str, int]:
    """Render a report, one page in each step: a killed worker's successor goes on after it."""
    for page in job.track(range(pages), "rendering"):
        job.step(f"page {page}", len, "a page" * page)
    return {"pages": pages}


app = Flask(__name__)
queue = SyncOutlast(jobs)  # opens with its first use, in each process of the service


@app.post("/reports")
def order() -> tuple[dict[str, str], int, dict[str, str]]:
    """Take an order for a report; a repeated click with the same key is the same order."""
    key = request.headers.get("Idempotency-Key")
    handle = queue.submit(report.options(key=key), pages=int(request.args["pages"]))
    return {"id": handle.id}, 202, {"Location": url_for("status", job_id=handle.id)}


@app.get("/reports/<job_id>")
def status(job_id: str) -> dict[str, Any] | tuple[dict[str, str], int]:
    """Say how an order stands."""
    try:
        now = queue.handle(job_id).status()
    except NotFoundError as error:
        return {"error": str(error)}, 404
    return {"status": now.status, "done": now.done, "progress": now.progress}
