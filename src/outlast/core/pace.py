"""How fast a job gets on, and how long it still needs."""

from math import exp
from typing import Final

from outlast.core.limits import DURATION_MAX_US, SECOND

_FIRST_US: Final = SECOND  # a shorter time says nothing about the rest
_MEMORY_US: Final = 30 * SECOND
_MEMORY_SHARE: Final = 4  # a long job remembers this part of its time, so slow items jump less


class Pace:
    """Measures units a second over the recent past of one attempt, in the attempt's own time.

    The first sight is the start: what an earlier attempt did is no work of this one.

    >>> pace = Pace()
    >>> pace.see(500, 0), pace.see(520, 10_000_000)
    (None, None)
    >>> pace.rate, pace.left_s(520, 1_000)
    (2.0, 240.0)
    """

    __slots__ = ("_begun_us", "_done", "_seen_us", "_skips", "_time_us", "_units")

    def __init__(self) -> None:
        self._begun_us = self._seen_us = 0
        self._done: float | None = None
        self._units = self._time_us = 0.0
        self._skips = False

    def skip(self) -> None:
        """Leave out what is done until the next sight: it was only read back."""
        self._skips = True

    def see(self, done: float, now_us: int) -> None:
        """Note how many units are done at a time; fewer than before is a new beginning."""
        if self._done is None or done < self._done:
            self._begun_us = now_us
            self._units = self._time_us = 0.0
        elif not self._skips:
            passed = now_us - self._seen_us
            memory = max(_MEMORY_US, (now_us - self._begun_us) / _MEMORY_SHARE)
            # Units and time fade alike, so that their ratio is unbiased from the first second.
            fade = exp(-passed / memory)
            self._units = self._units * fade + done - self._done
            self._time_us = self._time_us * fade + passed
        self._done, self._seen_us, self._skips = done, now_us, False

    @property
    def rate(self) -> float | None:
        """Units a second; None as long as there is too little to go by."""
        if self._time_us < _FIRST_US or not self._units:
            return None
        return float(f"{self._units * SECOND / self._time_us:.3g}")

    def left_s(self, done: float, total: float | None) -> float | None:
        """How many seconds the rest takes at this rate; None where that can't be known."""
        if total is None:
            return None
        if done >= total:
            return 0.0
        if not self.rate:
            return None
        left = (total - done) / self.rate
        return round(left, 1) if left * SECOND <= DURATION_MAX_US else None
