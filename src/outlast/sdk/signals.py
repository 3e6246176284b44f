"""What a task raises to say what should happen next."""

from datetime import timedelta

from outlast.core.instant import duration_us


class Retry(Exception):
    """Ask for another attempt after a while, such as a server's Retry-After (RFC 9110, 10.2.3).

    >>> Retry(after=2.5).after_us
    2500000
    """

    def __init__(self, reason: str = "retry asked for", *, after: str | float | timedelta) -> None:
        super().__init__(reason)
        self.after_us = duration_us(after, field="after")


class GiveUp(Exception):
    """Dead-letter the job at once: no later attempt can succeed."""


class JobCancelled(BaseException):
    """Raised inside a task, at its next cancellation point, when the job was asked to stop."""
