"""Writes what a platform must be told to run an app's API and workers, from its settings."""

from collections.abc import Callable, Mapping
from typing import Final

from outlast.core.errors import InvalidInputError
from outlast.deploy import compose, ecs, kubernetes, systemd
from outlast.deploy.plan import Plan

__all__ = ["TARGETS", "Plan", "render"]

Files = Mapping[str, str]  # the text of each file by its name

TARGETS: Final[Mapping[str, Callable[[Plan], Files]]] = {
    "kubernetes": kubernetes.render,
    "ecs": ecs.render,
    "systemd": systemd.render,
    "compose": compose.render,
}


def render(target: str, plan: Plan) -> Files:
    """Return the files of a target; raise InvalidInputError for what it can't do."""
    if target not in TARGETS:
        raise InvalidInputError(f"target: expected one of {', '.join(TARGETS)}, got {target!r:.60}")
    return TARGETS[target](plan)
