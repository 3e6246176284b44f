"""What a Django task may say beyond the framework, and what it is given when it runs."""

from dataclasses import dataclass
from typing import Any

from outlast.django.framework import Task, TaskContext


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlastTask(Task):
    """A Django task with a policy: `@task(retries=5, timeout="10m")`.

    What is None is the backend's: the same names in its OPTIONS, or else Outlast's own defaults.
    """

    retries: int | None = None
    timeout: str | float | None = None
    deadline: str | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlastContext(TaskContext):
    """The framework's context, and the job: progress, steps, files (`SyncJob`, or `Job`)."""

    job: Any
