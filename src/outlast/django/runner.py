"""Runs a Django task as a job, with the signals, context and connections that Django has it get."""

import traceback
from collections.abc import Callable
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.utils import timezone
from django.utils.module_loading import import_string

from outlast.core.retry import DEFAULT_BACKOFF, NO_RULES, course
from outlast.django.framework import (
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from outlast.django.task import OutlastContext
from outlast.sdk.context import Job
from outlast.sdk.sync_context import SyncJob
from outlast.sdk.task import Task as Registered
from outlast.sdk.task import policy_of
from outlast.system import CLOCK

Said = tuple[tuple[str, Any], ...]


def find(path: str) -> Task | None:
    """Return the task of this name, if there is one in an installed app or in the project.

    The name comes from the ledger: no other module is imported because of it.
    """
    homes = [config.name for config in apps.get_app_configs()]
    homes += [str(getattr(settings, "ROOT_URLCONF", "")).partition(".")[0] or "."]
    if not any(path.startswith(f"{home}.") for home in homes):
        return None
    try:
        found = import_string(path)
    except ImportError:
        return None
    return found if isinstance(found, Task) else None


@lru_cache(maxsize=1_024)
def registered(task: Task, alias: str, policy: Said) -> Registered:
    """Make what a worker runs for a Django task; its arguments are those of the call, as JSON."""
    run: Callable[..., Any]
    if iscoroutinefunction(task.func):

        async def run(job: Job, args: list[Any], kwargs: dict[str, Any]) -> Any:
            # What the task calls by sync_to_async, the ORM first of all, has a thread of its own.
            async with ThreadSensitiveContext():
                try:
                    attempt = await sync_to_async(_Attempt)(task, alias, job)
                    try:
                        value = normalize_json(await task.func(*attempt.context, *args, **kwargs))
                    except (Exception, SystemExit) as error:
                        await sync_to_async(attempt.failed)(error)
                        raise
                    await sync_to_async(attempt.succeeded)(value)
                    return value
                finally:
                    await sync_to_async(connections.close_all)()

    else:

        def run(job: SyncJob, args: list[Any], kwargs: dict[str, Any]) -> Any:
            try:
                attempt = _Attempt(task, alias, job)
                try:
                    value = normalize_json(task.func(*attempt.context, *args, **kwargs))
                except (Exception, SystemExit) as error:
                    attempt.failed(error)
                    raise
                attempt.succeeded(value)
                return value
            finally:
                connections.close_all()  # this thread is the job's own and ends with it

    return Registered(task.module_path, run, policy_of(**dict(policy)))


class _Attempt:
    """Tells the framework's receivers how an attempt begins and how it ends."""

    def __init__(self, task: Task, alias: str, job: Any) -> None:
        backend = task_backends[alias]
        self._sender = type(backend)
        self._result: TaskResult = backend.get_result(job.id)
        self._job = job
        self.context = (
            (OutlastContext(task_result=self._result, job=job),) if task.takes_context else ()
        )
        task_started.send(sender=self._sender, task_result=self._result)

    def succeeded(self, value: Any) -> None:
        self._set("_return_value", value)
        self._finish(TaskResultStatus.SUCCESSFUL)

    def failed(self, error: BaseException) -> None:
        """Tell of the failure unless another attempt follows it."""
        next_ = course(error, NO_RULES, DEFAULT_BACKOFF, CLOCK.now_us())
        if next_.again and not (next_.counts and self._job.attempt >= self._job.max_attempts):
            return
        self._result.errors.append(_told(error))
        self._finish(TaskResultStatus.FAILED)

    def _finish(self, status: TaskResultStatus) -> None:
        self._set("status", status)
        self._set("finished_at", timezone.now())
        task_finished.send(sender=self._sender, task_result=self._result)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self._result, name, value)  # as the framework's own backends do


def _told(error: BaseException) -> TaskError:
    kind = type(error)
    trace = "".join(traceback.format_exception(error))
    return TaskError(exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback=trace)
