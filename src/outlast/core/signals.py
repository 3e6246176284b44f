"""What a task raises to say what should happen next."""

from datetime import timedelta

from outlast.core.instant import duration_us, retry_after_us


class Retry(Exception):
    """Ask for another attempt after a while.

    `after` is a duration, or the text of a Retry-After header (RFC 9110, 10.2.3): seconds or an
    HTTP date. With `counts=False` the attempt is not used up, however often that is asked.

    >>> Retry(after=2.5).delay_us(now_us=0)
    2500000
    >>> Retry("the report is not ready", after="120", counts=False).delay_us(now_us=0)
    120000000
    """

    def __init__(
        self,
        reason: str = "retry asked for",
        *,
        after: str | float | timedelta,
        counts: bool = True,
    ) -> None:
        super().__init__(reason)
        self.after = after
        self.counts = counts
        if not isinstance(after, str) or retry_after_us(after, now_us=0) is None:
            duration_us(after, field="after")  # refused here, where the mistake is

    def delay_us(self, now_us: int) -> int:
        """Return how long to wait, in microseconds."""
        asked = retry_after_us(self.after, now_us) if isinstance(self.after, str) else None
        return duration_us(self.after, field="after") if asked is None else asked


class GiveUp(Exception):
    """Dead-letter the job at once: no later attempt can succeed."""


class JobCancelled(BaseException):
    """Raised inside a task, at its next cancellation point, when the job was asked to stop."""


class HandBack(BaseException):
    """Raised inside a task that has saved where it is, because its worker is about to stop."""
