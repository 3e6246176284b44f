"""An app and a user's connection to its ledger, by which laws are told for every library alike."""

import asyncio

from outlast import Outlast, SyncOutlast, Unique
from outlast.sdk.sync import _run_here
from tests.transactions.theirs import TABLE


def new_app(url, folder):
    app = Outlast(
        ledger=url, blobs=f"{folder}/blobs", queue_settings={"narrow": {"max_depth": 2}}
    )  # fmt: skip

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def said(text: str) -> str:
        return text

    @app.task(queue="narrow")
    async def bounded(a: int) -> int:
        return a

    @app.task(unique=Unique(by=("a",)))
    async def alone(a: int) -> int:
        return a

    app.task_of = {"add": add, "said": said, "bounded": bounded, "alone": alone}
    return app


class Desk:
    """The app on one side, the user's connection on the other."""

    def __init__(self, app, theirs):
        self.app = app
        self.theirs = theirs
        self._jobs = SyncOutlast(app)

    async def open(self):
        await self.outside(self.app.open())
        await self.theirs.open()
        await self.theirs.begin()
        await self.theirs.run(TABLE)
        await self.theirs.run("DELETE FROM orders")
        await self.theirs.commit()

    async def close(self):
        await self.theirs.close()
        if self.theirs.is_async:
            await self.app.close()
        else:
            self._jobs.__exit__()

    async def outside(self, work):
        """Do what has nothing to do with the user's connection."""
        return await work if self.theirs.is_async else self._jobs.wait(work)

    async def submit(self, name, key=None, **args):
        task = self.app.task_of[name].options(key=key).within(self.theirs.connection)
        if self.theirs.is_async:
            return await task.submit(**args)
        return self._jobs.submit(task, **args)

    async def submit_batch(self, name, calls, **how):
        task = self.app.task_of[name].within(self.theirs.connection)
        if self.theirs.is_async:
            return await task.submit_batch(calls, **how)
        return self._jobs.submit_batch(task, calls, **how)

    async def submit_outside(self, name, **args):
        return await self.outside(self.app.task_of[name].submit(**args))

    async def record(self, handle):
        (found,) = await self.outside(self.app.ledger.get([handle.id]))
        return found

    async def history(self, handle):
        return await self.outside(self.app.ledger.history(handle.id))

    async def order(self, number):
        await self.theirs.run(f"INSERT INTO orders VALUES ({number})")


def judge(library, url, folder, law):
    """Judge a law by a library: on a loop if the library needs one, else on this thread."""

    async def judged():
        desk = Desk(new_app(url, folder), library(url))
        await desk.open()
        try:
            await law(desk)
        finally:
            await desk.close()

    return asyncio.run(judged()) if library.is_async else _run_here(judged())
