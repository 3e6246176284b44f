"""When a failed attempt runs again: backoff with full jitter, as a value."""

from dataclasses import dataclass
from typing import Final

from outlast.core.limits import HOUR, SECOND


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: up to `base_us` · `factor`^(attempt − 1), at most `cap_us`.

    With full jitter the delay is drawn evenly from zero to that bound, so that jobs which failed
    together don't come back together (M. Brooker, "Exponential Backoff And Jitter", 2015).

    >>> Backoff(base_us=1_000_000, jitter=False).delay_us(3, dice=0.5)
    4000000
    """

    base_us: int = 5 * SECOND
    factor: float = 2.0
    cap_us: int = HOUR
    jitter: bool = True

    def delay_us(self, attempt: int, dice: float) -> int:
        """Return the delay before the next attempt, after `attempt` failed ones (≥ 1)."""
        # The exponent is bounded because a float overflows past 2^1023.
        bound = min(float(self.cap_us), self.base_us * self.factor ** min(attempt - 1, 200))
        return int(bound * dice) if self.jitter else int(bound)


DEFAULT_BACKOFF: Final = Backoff()
LOST_BACKOFF: Final = Backoff(base_us=2 * SECOND)
