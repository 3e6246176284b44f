"""Outlast runs work that outlasts the request."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlast.core.errors import CommandError, CrashedError, OutlastError, OutOfMemoryError
    from outlast.core.retry import GIVE_UP, Backoff, Snooze
    from outlast.core.signals import GiveUp, JobCancelled, Retry
    from outlast.core.unique import Unique, debounce, throttle
    from outlast.sdk.app import Outlast
    from outlast.sdk.artifact import Artifact
    from outlast.sdk.client import Client
    from outlast.sdk.context import Job
    from outlast.sdk.handle import Handle
    from outlast.sdk.keys import key_for
    from outlast.sdk.sync import SyncClient, SyncOutlast
    from outlast.sdk.sync_context import SyncJob

__all__ = [
    "GIVE_UP",
    "Artifact",
    "Backoff",
    "Client",
    "CommandError",
    "CrashedError",
    "GiveUp",
    "Handle",
    "Job",
    "JobCancelled",
    "OutOfMemoryError",
    "Outlast",
    "OutlastError",
    "Retry",
    "Snooze",
    "SyncClient",
    "SyncJob",
    "SyncOutlast",
    "Unique",
    "debounce",
    "key_for",
    "throttle",
]

_HOMES = {
    "Artifact": "sdk.artifact",
    "Backoff": "core.retry",
    "Client": "sdk.client",
    "CommandError": "core.errors",
    "CrashedError": "core.errors",
    "GIVE_UP": "core.retry",
    "GiveUp": "core.signals",
    "Handle": "sdk.handle",
    "Job": "sdk.context",
    "JobCancelled": "core.signals",
    "OutOfMemoryError": "core.errors",
    "Outlast": "sdk.app",
    "OutlastError": "core.errors",
    "Retry": "core.signals",
    "Snooze": "core.retry",
    "SyncClient": "sdk.sync",
    "SyncJob": "sdk.sync_context",
    "SyncOutlast": "sdk.sync",
    "Unique": "core.unique",
    "debounce": "core.unique",
    "key_for": "sdk.keys",
    "throttle": "core.unique",
}


def __getattr__(name: str) -> Any:
    # Looked up on first use, so that the supervisor, which runs no user code, stays small.
    from importlib import import_module  # noqa: PLC0415

    if name not in _HOMES:
        raise AttributeError(f"module 'outlast' has no attribute {name!r}")
    return getattr(import_module(f"outlast.{_HOMES[name]}"), name)
