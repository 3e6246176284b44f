"""An app as a user may have it, whose jobs note what they do."""

import asyncio

import pytest

from outlast.core.retry import Backoff
from outlast.sdk.app import Outlast
from outlast.sdk.context import Job
from outlast.sdk.sync_context import SyncJob
from outlast.testing import testing


class Shop:
    """The app, its tasks, and what they did."""

    def __init__(self):
        self.did = []
        self.app = Outlast(ledger="sqlite:////nowhere/outlast.db")
        did = self.did

        @self.app.task
        async def welcome(user_id: int, name: str = "you") -> str:
            did.append(("welcome", user_id))
            return f"Hello, {name}"

        @self.app.task
        async def export(job: Job, rows: int = 25) -> int:
            try:
                await job.step("load", self.load)
                async for row in job.resume(range(rows), every=10, name="rows"):
                    did.append(row)
                await job.save("rows.txt", b"rows")
                print("written")
                return rows
            finally:
                did.append("cleaned up")

        @self.app.task
        def report(job: SyncJob) -> str:
            job.step("load", self.load)
            job.remember("page", 1)
            return "report"

        @self.app.task(retries=2, backoff=Backoff.constant("10m"))
        async def flaky(job: Job) -> int:
            if job.attempt < 3:
                raise ConnectionError("away")
            return job.attempt

        @self.app.task
        async def patient(days: float) -> str:
            await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=days * 86_400)
            return "rested"

        self.welcome, self.export, self.report = welcome, export, report
        self.flaky, self.patient = flaky, patient

    def load(self) -> str:
        self.did.append("load")
        return "loaded"


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
async def t(shop):
    async with testing(shop.app) as bench:
        yield bench
