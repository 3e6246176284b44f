"""What a test asks of its jobs: which were submitted, how each stands, how often each ran."""

from typing import Any

from outlast.blobs.local import LocalStore
from outlast.core.errors import NotFoundError
from outlast.sdk.app import Outlast
from outlast.sdk.handle import Handle
from outlast.sdk.sync import SyncHandle
from outlast.sdk.task_handle import TaskHandle
from outlast.testing.hands import TestLedger, at_once
from outlast.testing.look import JobView, Wanted, missed, plain_job

AnyJob = Handle | SyncHandle | JobView | str


class Records:
    """The jobs of one test."""

    _app: Outlast
    _ledger: TestLedger
    _store: LocalStore

    def _keep(self, ledger: TestLedger, store: LocalStore) -> None:
        self._ledger = ledger
        self._store = store

    def job(self, job: AnyJob) -> JobView:
        """Return how a job stands now, by its handle or its ID."""
        job_id = job if isinstance(job, str) else job.id
        (row,) = at_once(self._ledger.get([job_id]))
        if row is None:
            raise NotFoundError(f"there is no job {job_id!r:.80} in this test")
        history = at_once(self._ledger.history(job_id, limit=1_000_000))
        plain = plain_job(self._app.tasks.get(row.task))
        return JobView(self._ledger.submitted[job_id], plain, row, history, self._store)

    @property
    def submitted(self) -> list[JobView]:
        """All jobs that were submitted in this test, in order."""
        return [self.job(job_id) for job_id in self._ledger.submitted]

    def find(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> list[JobView]:
        """Return the submitted jobs of a task with these arguments and `options`.

        What is not named may be anything.
        """
        wanted = Wanted(task, args, kwargs)
        return [
            job
            for job in self.submitted
            if job.task == wanted.task.name and not wanted.differences(job)
        ]

    def assert_submitted(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> JobView:
        """Return the first such job; raise AssertionError that says what there is instead."""
        __tracebackhide__ = True
        found = self.find(task, *args, **kwargs)
        if not found:
            raise AssertionError(missed(Wanted(task, args, kwargs), self.submitted))
        return found[0]

    def assert_not_submitted(self, task: TaskHandle[Any, Any], *args: Any, **kwargs: Any) -> None:
        """Raise AssertionError when there is such a job."""
        __tracebackhide__ = True
        if found := self.find(task, *args, **kwargs):
            listed = "".join(f"\n  {job!r}" for job in found)
            wanted = Wanted(task, args, kwargs)
            raise AssertionError(f"expected no job {wanted}, got {len(found)}:{listed}")

    def runs(self, what: TaskHandle[Any, Any] | AnyJob) -> int:
        """Return how often a job was started, or all jobs of a task."""
        if isinstance(what, TaskHandle):
            return sum(job.attempts for job in self.find(what))
        return self.job(what).attempts
