"""What every private server of the tests needs: a port that is free, and not to outlive us."""

import signal
import socket
from collections.abc import Callable

from outlast.worker.lifeline import PR_SET_PDEATHSIG, prctl


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_with_parent(how: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it runs a program: ask for a signal when we die."""
    return lambda: prctl(PR_SET_PDEATHSIG, how)
