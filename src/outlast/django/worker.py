"""The apps that workers load: `outlast.django.worker:ALIAS`, as `manage.py outlast_worker` does."""

from collections.abc import Iterator, Mapping
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured

from outlast.django.backend import OutlastBackend
from outlast.django.framework import task_backends
from outlast.django.runner import find
from outlast.sdk.app import Outlast
from outlast.sdk.task import Task


class _Tasks(Mapping[str, Task]):
    """The tasks of a project, each found by its name when its first job comes."""

    def __init__(self, backend: OutlastBackend) -> None:
        self._backend = backend
        self._found: dict[str, Task] = {}

    def __getitem__(self, name: str) -> Task:
        if name not in self._found:
            task = find(name)
            if task is None:
                raise KeyError(name)
            self._found[name] = self._backend.registered(task)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class DjangoWorker(Outlast):
    """An app whose tasks are those of a Django project."""

    def __init__(self, backend: OutlastBackend) -> None:
        super().__init__(**backend.settings)
        self._django = _Tasks(backend)

    @property
    def tasks(self) -> Mapping[str, Task]:
        return self._django


def __getattr__(alias: str) -> Any:
    if alias.startswith("_"):
        raise AttributeError(alias)
    django.setup()
    try:
        backend = task_backends[alias]
    except ImproperlyConfigured as error:
        raise AttributeError(str(error)) from error
    return DjangoWorker(backend)
