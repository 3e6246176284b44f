"""What one key may take of this process: so many calls a second, and so many held open at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from outlast.api.guard import Caller
from outlast.core.errors import RateLimitedError
from outlast.core.limits import HELD_MAX, SECOND
from outlast.core.ports import Clock
from outlast.core.share import Pace

_RETRY_AFTER_S: Final = 5


class Shares:
    """Counts for each key; every process of the API has counts of its own, and starts with none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._paces: dict[str, Pace] = {}

    def take(self, who: Caller) -> None:
        """Count a call; raise RateLimitedError when the key is over its rate."""
        if who.rate is None or who.key is None:
            return
        now, pace = self._clock.elapsed_us(), self._paces.get(who.key)
        free_at = now if pace is None else who.rate.free_at(pace)
        if free_at > now:
            raise RateLimitedError(
                f"this key may make {who.rate} calls",
                retry_after=max(1, ceil((free_at - now) / SECOND)),
            )
        self._paces[who.key] = who.rate.after(pace or Pace(now, now - who.rate.gap_us), now)

    @contextmanager
    def holding(self, who: Caller) -> Iterator[None]:
        """Count a call that is held open; raise RateLimitedError when the key holds too many."""
        if who.key is None:
            yield
            return
        if self._held[who.key] >= HELD_MAX:
            raise RateLimitedError(
                f"expected at most {HELD_MAX} streams and waiting calls at once with one key",
                retry_after=_RETRY_AFTER_S,
            )
        self._held[who.key] += 1
        try:
            yield
        finally:
            self._held[who.key] -= 1


class HeldStream(StreamingResponse):
    """A stream that counts as held from its first byte to its last."""

    def __init__(self, shares: Shares, who: Caller, content: Any, **more: Any) -> None:
        super().__init__(content, **more)
        self._hold = ExitStack()
        self._hold.enter_context(shares.holding(who))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hold:
            await super().__call__(scope, receive, send)
