"""How many jobs to claim ahead: deep for no-ops, none for long jobs."""

from dataclasses import dataclass
from typing import Final

from outlast.core.limits import MILLISECOND

# What is claimed and not yet started should be done within this time, so that a slow job never
# holds fast ones that another worker could run.
AHEAD_US: Final = 30 * MILLISECOND
# What was not started within this time is given back: jobs have become slower than they were.
PATIENCE_US: Final = 45 * MILLISECOND
DEPTH_MAX: Final = 400
_WEIGHT: Final = 0.1
_LESS: Final = 0.9  # much less, and who waits for a slow disk would run dry meanwhile
_TRUST: Final = 0.02  # for each job that ends, so much more may be ahead again


@dataclass(slots=True)
class ServiceTime:
    """A moving average of how long jobs take, in microseconds; None until one has ended."""

    mean_us: float | None = None
    # Jobs that keep the processor busy don't run beside each other, however short each is.
    ahead_max: float = DEPTH_MAX

    def observe(self, us: float) -> None:
        """Take one more job into account."""
        self.ahead_max = min(DEPTH_MAX, self.ahead_max + _TRUST)
        if self.mean_us is None or us > 50 * self.mean_us:
            self.mean_us = us  # a far slower kind of job has come: believe it at once
        else:
            self.mean_us += _WEIGHT * (us - self.mean_us)

    def late(self, started: int) -> None:
        """Take into account that others still waited when so many had started in PATIENCE_US.

        >>> fast = ServiceTime(mean_us=20.0)
        >>> fast.late(started=150)
        >>> fast.depth(slots=10)
        135
        """
        self.ahead_max = min(DEPTH_MAX, _LESS * started)
        if started == 0:
            self.mean_us = max(PATIENCE_US, self.mean_us or 0.0)

    def depth(self, slots: int) -> int:
        """Return how many jobs to hold beyond the running ones.

        >>> ServiceTime(mean_us=20.0).depth(slots=10), ServiceTime(mean_us=1e6).depth(slots=10)
        (400, 0)
        """
        if self.mean_us is None or self.mean_us >= AHEAD_US:
            return 0
        return int(min(self.ahead_max, slots * AHEAD_US / max(self.mean_us, 1.0)))
