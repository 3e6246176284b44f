"""What ships for testing: fixtures for users, conformance suites, the simulator.

Users write `async with testing(app) as t`, or `with` in plain code. The suites that judge a ledger
stand in `outlast.testing.exercise` and `outlast.testing.machine`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlast.testing.bench import Testing
    from outlast.testing.door import testing
    from outlast.testing.faults import Fault
    from outlast.testing.look import JobView
    from outlast.testing.sync import SyncTesting

__all__ = ["Fault", "JobView", "SyncTesting", "Testing", "testing"]

_HOMES = {
    "Fault": "faults",
    "JobView": "look",
    "SyncTesting": "sync",
    "Testing": "bench",
    "testing": "door",
}


def __getattr__(name: str) -> Any:
    # Looked up on first use: pytest loads this room for its plugin, also where no job is tested.
    from importlib import import_module  # noqa: PLC0415

    if name not in _HOMES:
        raise AttributeError(f"module 'outlast.testing' has no attribute {name!r}")
    return getattr(import_module(f"outlast.testing.{_HOMES[name]}"), name)
