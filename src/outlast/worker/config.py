"""Who a pool is and what it takes, as configured and with what is said at run time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from outlast.core.queue import QueueRules


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Who the pool is and what it takes."""

    holder: str
    queues: tuple[str, ...]
    concurrency: int = 16
    grace_s: float = 30.0
    rules: Mapping[str, QueueRules] = field(default_factory=dict)  # as configured, by queue
    share: tuple[int, int] = (0, 1)  # which of how many processes that divide a worker_count

    @property
    def slots(self) -> int:
        """How many jobs may run here at once: a queue of its own has its worker_count divided."""
        rules = self.rules.get(self.queues[0]) if len(self.queues) == 1 else None
        if rules is None or rules.worker_count is None:
            return self.concurrency
        index, processes = self.share
        return rules.worker_count // processes + (index < rules.worker_count % processes)

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of a queue is to be started."""
        return queue in self.rules and self.rules[queue].paused

    def changed(self, said: Mapping[str, Mapping[str, Any]]) -> "PoolConfig":
        """Return this with what was said of its queues at run time."""
        now = {
            queue: self.rules.get(queue, QueueRules()).changed(said.get(queue, {}))
            for queue in self.queues
        }
        return replace(self, rules=now)
