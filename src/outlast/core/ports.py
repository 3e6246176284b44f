"""What the machine gives: a clock and dice, as protocols, so that tests can give their own."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks with two names: instants are stored, elapsed times are subtracted, never mixed."""

    def now_us(self) -> int:
        """Return the wall clock: microseconds since 1970, UTC."""
        ...

    def elapsed_us(self) -> int:
        """Return the monotonic clock in microseconds; its zero means nothing."""
        ...


class Entropy(Protocol):
    """Where dice come from."""

    def bits(self, n: int) -> int:
        """Return `n` random bits as an integer."""
        ...

    def fraction(self) -> float:
        """Return a random number in [0, 1)."""
        ...

    def token(self, n: int) -> bytes:
        """Return `n` unpredictable bytes, fit for a secret."""
        ...
