"""How long to rest between two looks at the ledger, so that looking never becomes the work."""

from typing import Final

from outlast.core.limits import SWEEP_US

_SHARE: Final = 10  # a look takes at most about this part of the time


def rest_us(took_us: int, least_us: int) -> int:
    """Return how long to rest after a look that took so long, at most a sweep.

    >>> rest_us(1_000, 20_000), rest_us(5_000, 20_000), rest_us(2_000_000, 20_000)
    (20000, 50000, 1000000)
    """
    return max(least_us, min(_SHARE * took_us, SWEEP_US))
