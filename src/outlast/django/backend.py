"""The backend: `"BACKEND": "outlast.django.OutlastBackend"`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.timezone import is_aware, make_aware

from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.django.apps import Site
from outlast.django.framework import (
    BaseTaskBackend,
    InvalidTask,
    TaskResult,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from outlast.django.result import instant, result_of
from outlast.django.runner import find, registered
from outlast.django.task import OutlastTask
from outlast.sdk.settings import Settings
from outlast.sdk.submission import Options
from outlast.sdk.task import Task as Registered
from outlast.sdk.task import policy_of
from outlast.sdk.task_handle import TaskHandle

_POLICY: Final = frozenset({"retries", "timeout", "deadline"})
_SETTINGS: Final = frozenset({"ledger", "blobs", "config"})


class OutlastBackend(BaseTaskBackend):
    """Runs Django's tasks as jobs: durable, with retries, in the workers of `outlast_worker`."""

    task_class = OutlastTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.settings = {k: v for k, v in self.options.items() if k not in _POLICY}
        self._policy = {k: v for k, v in self.options.items() if k in _POLICY}

    @property
    def site(self) -> Site:
        """The app of this process; raise ImproperlyConfigured unless it is an installed one."""
        try:
            return apps.get_app_config("outlast").site(self.settings)
        except LookupError as error:
            raise ImproperlyConfigured(
                'TASKS uses OutlastBackend: add "outlast.django" to INSTALLED_APPS'
            ) from error

    def policy(self, task: OutlastTask | None = None) -> dict[str, Any]:
        """Return what the task says of retries and limits, over what the backend says."""
        own = {name: getattr(task, name, None) for name in _POLICY}
        return self._policy | {name: value for name, value in own.items() if value is not None}

    def registered(self, task: OutlastTask, policy: Mapping[str, Any] | None = None) -> Registered:
        """Return what a worker runs for a Django task."""
        said = self.policy(task) if policy is None else policy
        return registered(task, self.alias, tuple(sorted(said.items())))

    def validate_task(self, task: OutlastTask) -> None:
        super().validate_task(task)
        try:
            policy_of(**self.policy(task))
        except InvalidInputError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: OutlastTask, args: Any, kwargs: Any) -> TaskResult:
        self.validate_task(task)
        found = find(task.module_path)
        if found is None or found.func is not task.func:
            raise InvalidTask(
                f"{task.module_path}: a worker would not find this task; expected it at the top of "
                "a module, under its own name, in an installed app or the project's package"
            )
        options = Options(
            queue=task.queue_name, priority=task.priority, run_at=_aware(task.run_after)
        )
        called = {"args": normalize_json(args), "kwargs": normalize_json(kwargs)}
        site = self.site
        as_job: TaskHandle[..., Any] = TaskHandle(
            site.app, self.registered(found, self.policy(task)), options
        )

        async def submitted() -> TaskResult:
            handle = await as_job.submit(**called)
            return await result_of(site.app, await handle.record(), task, self.alias)

        result = site.queue.wait(submitted())
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        site = self.site

        async def found() -> TaskResult:
            job = await site.app.handle(str(result_id)).record()
            task = find(job.task)
            if task is None:
                raise TaskResultDoesNotExist(result_id)
            # A job may have been moved to a queue that the settings don't name.
            queue = job.queue if job.queue in self.queues or not self.queues else task.queue_name
            waits = job.run_at > job.submitted_at and not job.attempt
            asked = replace(
                task,
                backend=self.alias,
                priority=job.priority,
                queue_name=queue,
                run_after=instant(job.run_at) if waits else None,
            )
            return await result_of(site.app, job, asked, self.alias)

        try:
            return site.queue.wait(found())
        except NotFoundError as error:
            raise TaskResultDoesNotExist(result_id) from error

    def check(self, **_: Any) -> Iterable[checks.CheckMessage]:
        """Tell what is wrong with the settings before anything is enqueued."""
        where = f"TASKS[{self.alias!r}]"
        if not apps.is_installed("outlast.django"):
            hint = 'add "outlast.django" to INSTALLED_APPS'
            yield checks.Error(f"{where}: Outlast is not installed", hint, id="outlast.E001")
        for problem in _wrong(self.settings, self._policy):
            yield checks.Error(f"{where}: OPTIONS: {problem}", id="outlast.E002")


def _wrong(settings: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterable[str]:
    known = _SETTINGS | _POLICY
    unknown = sorted(settings.keys() - known)
    if unknown:
        yield f"expected some of {', '.join(sorted(known))}, got {', '.join(unknown)}"
        return
    try:
        loaded = Settings.load(**settings)
        policy_of(**policy)
    except InvalidInputError as error:
        yield str(error)
        return
    if loaded.ledger == "memory://":
        yield "ledger memory:// can't be shared with a worker; use sqlite:///path or postgresql://…"
    for name, database in connections.settings.items():
        # Two copies of SQLite that write to one file in one process destroy it.
        path = loaded.ledger.removeprefix("sqlite:///")
        is_sqlite = database["ENGINE"].endswith("sqlite3") and path != loaded.ledger
        if is_sqlite and Path(path).resolve() == Path(database["NAME"]).resolve():
            yield f"ledger {loaded.ledger} is DATABASES[{name!r}]: expected a file of its own"


def _aware(moment: Any) -> Any:
    return moment if moment is None or is_aware(moment) else make_aware(moment)
