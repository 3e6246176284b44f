"""Which way each job runs: here, in a process of its own, or as a program."""

from collections.abc import Mapping

from outlast.core.queue import QueueRules
from outlast.worker.cage import Cages
from outlast.worker.command import Command, Program
from outlast.worker.effects import Runnable
from outlast.worker.isolated import Isolated

_NOTHING_SAID = QueueRules()


class Here:
    """Runs every job in this process, whatever its task or its queue says."""

    def __init__(self, tasks: Mapping[str, Runnable]) -> None:
        self._tasks = tasks

    def of(self, task: str, rules: QueueRules | None) -> Runnable | None:
        """Return the task, if it is there."""
        return self._tasks.get(task)


class Executors:
    """Runs each job as its task says, or else its queue; `cell` starts a process with the tasks.

    A job for which nothing is said runs as its task is: on the event loop, or in a thread.
    """

    def __init__(self, tasks: Mapping[str, Runnable], cages: Cages, cell: list[str]) -> None:
        self._tasks = tasks
        self._cages = cages
        self._cell = cell
        # Chosen once: to do it for each job would cost much. Rules that change leave a few behind.
        self._made: dict[str | tuple[str, QueueRules], Runnable] = {}

    def of(self, task: str, rules: QueueRules | None) -> Runnable | None:
        """Return what runs a job of the task in a queue with these rules."""
        if rules is None or not rules.confines:
            return self._of(task, task, _NOTHING_SAID)
        return self._of((task, rules), task, rules)

    def _of(
        self, place: str | tuple[str, QueueRules], task: str, rules: QueueRules
    ) -> Runnable | None:
        if place not in self._made:
            known = self._tasks.get(task)
            if known is None:
                return None
            self._made[place] = self._executor_of(known, rules)
        return self._made[place]

    def _executor_of(self, task: Runnable, rules: QueueRules) -> Runnable:
        policy = task.policy.in_queue(rules)
        if isinstance(task, Program):
            return Command(task, policy, self._cages)
        if policy.isolation == "process":
            return Isolated(policy, self._cell, self._cages)
        return task
