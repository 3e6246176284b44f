"""The private Redis of the tests is a real one that keeps what it was given."""

import signal
import socket
from pathlib import Path

from outlast.testing.redis import private_redis


def asked(server, question):
    """Send one command; return the lines of its answer, without their kinds and lengths."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(f"{question}\r\nQUIT\r\n".encode())
        lines = line.makefile("rb").read().decode().split("\r\n")
    return [text.lstrip("+:") for text in lines if text and text[0] not in "*$"][:-1]


def test_what_it_holds_goes_to_a_log_that_is_synced():
    with private_redis() as server:
        appends, syncs = (
            asked(server, "CONFIG GET appendonly"),
            asked(server, "CONFIG GET appendfsync"),
        )

    assert (appends, syncs) == (["appendonly", "yes"], ["appendfsync", "everysec"])


def test_what_was_pushed_survives_the_kill_of_the_server():
    with private_redis() as server:
        asked(server, "LPUSH jobs one two")

        server.restart(signal.SIGKILL)

        assert asked(server, "LRANGE jobs 0 -1") == ["two", "one"]


def test_nothing_is_left_of_it():
    with private_redis() as server:
        folder, pid = server._folder, server.pid

    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()
