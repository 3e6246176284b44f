"""Which way each task's jobs run: here, in a process of their own, or as a program."""

from collections.abc import Iterator, Mapping

from outlast.worker.cage import Cages
from outlast.worker.command import Command, Program
from outlast.worker.effects import Runnable
from outlast.worker.isolated import Isolated


class Executors(Mapping[str, Runnable]):
    """Tasks by name, each with its executor; `cell` starts a process that knows the same tasks.

    A task that asks for nothing runs as it is: on the event loop, or in a thread.
    """

    def __init__(self, tasks: Mapping[str, Runnable], cages: Cages, cell: list[str]) -> None:
        self._tasks = tasks
        self._cages = cages
        self._cell = cell
        self._made: dict[str, Runnable] = {}  # asked for once a job: choosing anew would cost much

    def __getitem__(self, name: str) -> Runnable:
        if name not in self._made:
            self._made[name] = self._executor_of(self._tasks[name])
        return self._made[name]

    def _executor_of(self, task: Runnable) -> Runnable:
        if isinstance(task, Program):
            return Command(task, self._cages)
        if task.policy.isolation == "process":
            return Isolated(task, self._cell, self._cages)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)
