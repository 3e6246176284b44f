"""How a job runs in a sandbox: in pieces, each of which ends behind a stored step."""

from collections.abc import Mapping
from typing import Any, cast

from outlast.core.effects import Effects
from outlast.core.queue import QueueRules
from outlast.core.signals import HandBack
from outlast.worker.cage import Cages
from outlast.worker.command import Command, Program
from outlast.worker.effects import Runnable, RunPolicy


class Tasks:
    """The tasks of an app; a program has a process of its own, all else runs in the sandbox's.

    The sandbox is what isolates: it has its own memory, and a function's limit on it.
    """

    def __init__(self, tasks: Mapping[str, Runnable]) -> None:
        self._tasks = tasks
        self._cages = Cages({}, "off")

    def of(self, task: str, rules: QueueRules | None) -> Runnable | None:
        """Return what runs a job of this task; None: it isn't here."""
        known = self._tasks.get(task)
        if known is None:
            return None
        if isinstance(known, Program):
            return Command(known, known.policy.in_queue(rules or QueueRules()), self._cages)
        return Piecewise(known)


class Piecewise:
    """A task whose job goes on later, after the step that was under way when time ran out."""

    def __init__(self, task: Runnable) -> None:
        self._task = task

    @property
    def policy(self) -> RunPolicy:
        """The task's own."""
        return self._task.policy

    async def run(self, effects: Effects) -> str | None:
        """Run one piece, or the whole."""
        return await self._task.run(cast("Effects", _Stepwise(effects)))


class _Stepwise:
    """Effects that end the attempt behind a step once the worker is about to stop."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._effects, name)

    async def amend(self, event: str, data: str, *, artifact: str | None = None) -> None:
        await self._effects.amend(event, data, artifact=artifact)
        if event == "step" and self._effects.draining():
            raise HandBack
