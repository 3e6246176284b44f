"""What every route is given: the app, its ledger, the watch, and jobs that the caller may see."""

from pydantic_core import from_json

from outlast.api.guard import Caller
from outlast.api.watch import Watch
from outlast.core.errors import GoneError, NotFoundError
from outlast.core.identity import is_uuid
from outlast.core.job import JobRecord
from outlast.ledger import Ledger
from outlast.sdk.app import Outlast


class Context:
    """One running API."""

    def __init__(self, app: Outlast) -> None:
        self.app = app
        self.watch = Watch(app.ledger)
        self._depths: dict[str, int | None] = {}

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""
        return self.app.ledger

    def max_depth(self, queue: str) -> int | None:
        """Return a queue's bound: the one set at run time, else the configured one."""
        return self._depths.get(queue, self.app.max_depth(queue))

    async def refresh(self) -> None:
        """Read the queue settings that were changed at run time."""
        self._depths = {
            doc.key: from_json(doc.doc)["max_depth"]
            for doc in await self.ledger.docs("queue")
            if "max_depth" in from_json(doc.doc)
        }

    async def job(self, job_id: str, who: Caller) -> JobRecord:
        """Return a job; raise NotFoundError for what is not there or another tenant's."""
        job = (await self.ledger.get([job_id]))[0] if is_uuid(job_id) else None
        if job is None or (who.tenant is not None and job.tenant != who.tenant):
            if who.tenant is None and await self.ledger.docs("tombstone", job_id):
                raise GoneError(f"job {job_id} has ended and was removed")
            error = NotFoundError(f"there is no job {job_id!r:.80}")
            error.code = "job-not-found"
            raise error
        return job
