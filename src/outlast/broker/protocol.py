"""The brokers' protocol: tickets that may be lost, repeated or reordered without any harm.

A ticket says that a job of a queue can run. Whoever receives one claims a job of that queue from
the ledger, which chooses the job: so priorities, fair shares and limits are the ledger's on every
broker, and a ticket too many finds nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Ticket(NamedTuple):
    """One message: that a job of this queue can run."""

    queue: str
    job_id: str


class Delivery(NamedTuple):
    """A ticket in somebody's hands; the broker may give it to another until it is settled."""

    queue: str
    job_id: str
    receipt: object  # what the broker needs to settle it


class Broker(Protocol):
    """Carries tickets from who made a job runnable to a worker that has room for one.

    Every method raises UnavailableError when the broker does not answer within a bounded time;
    connections come back by themselves, at the next call.
    """

    async def publish(self, tickets: Sequence[Ticket]) -> None:
        """Hand tickets over; when it returns, the broker has them all."""
        ...

    async def receive(
        self, queues: Sequence[str], limit: int, timeout: float
    ) -> Sequence[Delivery]:
        """Return up to `limit` tickets of these queues as soon as there is one.

        None at all after `timeout` seconds. A message that is no ticket is dropped on the way.
        A receive that is cancelled keeps nothing from others for good.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries: they are not given to anybody again."""
        ...

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Return about how many tickets of each queue wait or are in hands, unsettled.

        Those in hands of other processes are left out where the broker tells nobody of them.
        """
        ...

    async def check(self, queues: Sequence[str]) -> dict[str, str]:
        """Return facts for `outlast doctor`; what should be changed starts with `warning: `."""
        ...

    async def close(self) -> None:
        """Let go of every connection; tickets in hands go to others."""
        ...
