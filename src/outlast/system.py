"""The machine's clock and dice: the only file that may touch them."""

import os
import random
import time

from outlast.core.identity import uuid7
from outlast.core.ports import Clock, Entropy


class SystemClock:
    """The real clock."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        return time.time_ns() // 1_000

    def elapsed_us(self) -> int:
        """Return the monotonic clock in microseconds."""
        return time.monotonic_ns() // 1_000


class SystemEntropy:
    """The real dice; secrets come from the kernel."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))  # noqa: S311 - jitter and IDs, not secrets
        # A forked child must not throw the same dice as its parent.
        os.register_at_fork(after_in_child=self._reseed)

    def _reseed(self) -> None:
        self._random.seed(os.urandom(32))

    def bits(self, n: int) -> int:
        """Return `n` random bits."""
        return self._random.getrandbits(n)

    def fraction(self) -> float:
        """Return a random number in [0, 1)."""
        return self._random.random()

    def token(self, n: int) -> bytes:
        """Return `n` unpredictable bytes."""
        return os.urandom(n)


CLOCK: Clock = SystemClock()
ENTROPY: Entropy = SystemEntropy()


def new_id(clock: Clock = CLOCK, entropy: Entropy = ENTROPY) -> str:
    """Make a fresh UUIDv7 from the machine's clock and dice."""
    return uuid7(clock.now_us(), entropy.bits(62))
