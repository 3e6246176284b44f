"""Outlast as a backend of Django's Tasks framework, and as an app of a Django project."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlast.django.backend import OutlastBackend
    from outlast.django.task import OutlastContext, OutlastTask

__all__ = ["OutlastBackend", "OutlastContext", "OutlastTask"]

_HOMES = {"OutlastBackend": "backend", "OutlastContext": "task", "OutlastTask": "task"}


def __getattr__(name: str) -> Any:
    # Django imports this package while it reads its settings, before anything else may be.
    from importlib import import_module  # noqa: PLC0415

    if name not in _HOMES:
        raise AttributeError(f"module 'outlast.django' has no attribute {name!r}")
    return getattr(import_module(f"outlast.django.{_HOMES[name]}"), name)
