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


@dataclass(slots=True)
class ServiceTime:
    """A moving average of how long jobs take, in microseconds; None until one has ended."""

    mean_us: float | None = None

    def observe(self, us: float) -> None:
        """Take one more job into account."""
        if self.mean_us is None or us > 50 * self.mean_us:
            self.mean_us = us  # a far slower kind of job has come: believe it at once
        else:
            self.mean_us += _WEIGHT * (us - self.mean_us)

    def wait(self, us: float) -> None:
        """Take into account that jobs in hand have gone on for so long and none has ended."""
        self.mean_us = max(us, self.mean_us or 0.0)

    def depth(self, slots: int) -> int:
        """Return how many jobs to hold beyond the running ones.

        >>> ServiceTime(mean_us=20.0).depth(slots=10), ServiceTime(mean_us=1e6).depth(slots=10)
        (400, 0)
        """
        if self.mean_us is None:
            return 0
        return min(
            DEPTH_MAX,
            int(slots * AHEAD_US / max(self.mean_us, 1.0)) if self.mean_us < AHEAD_US else 0,
        )
