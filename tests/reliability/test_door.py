"""What strangers send is refused at the door of a real server, and costs it no memory."""

import json
import signal
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import jobs
import pytest

ROOM_MB = 24  # what the server may grow by, whatever is sent


@pytest.fixture
def server(tmp_path):
    """Start `outlast api` as a user does; give its port and the process that serves."""
    command = [sys.executable, "-m", "outlast", "api", jobs.__file__, "--json", "--port", "0"]
    where = ["--ledger", f"sqlite:///{tmp_path}/l.db", "--blobs", str(tmp_path / "blobs")]
    with subprocess.Popen([*command, *where], stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        port = int(ready["url"].rpartition(":")[2].strip("/"))
        ask(port, b"{}")  # whatever is loaded on the first request is loaded
        yield port, serving(process.pid)
        process.send_signal(signal.SIGTERM)


def serving(parent):
    """Return the process ID of the child that serves."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def memory_mb(pid):
    """Return the most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def head(length, kind="application/json"):
    return (
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\n{length}\r\n\r\n"
    ).encode()


def answer(sock):
    """Read an answer to its end; return the status and the problem."""
    raw = b""
    while chunk := sock.recv(65536):
        raw += chunk
    status, _, rest = raw.partition(b"\r\n")
    return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


def ask(port, body, kind="application/json"):
    with connect(port) as sock:
        sock.sendall(head(f"Content-Length: {len(body)}", kind) + body)
        return answer(sock)


def args(value):
    return b'{"task": "add", "args": {"a": ' + value + b', "b": 1}}'


HOSTILE = {
    "NUL": (args(b'"\\u0000"'), 400),
    "raw NUL": (args(b'"\x00"'), 400),
    "lone surrogate": (args(b'"\\ud800"'), 400),
    "depth 100,000": (args(b"[" * 100_000 + b"]" * 100_000), 400),
    "a number of 200,000 digits": (args(b"9" * 200_000), 400),
    "NaN": (args(b"NaN"), 400),
    "a name twice": (b'{"task": "add", "task": "add", "args": {}}', 400),
    "a name twice inside": (args(b'{"x": 1, "x": 2}'), 400),
    "a byte order mark": (b"\xef\xbb\xbf" + args(b"1"), 400),
    "Infinity": (args(b"-Infinity"), 400),
    "not UTF-8": (args(b'"\xff"'), 400),
    "cut off": (b'{"task": "add"', 400),
    "no object": (b"[1]", 400),
    "empty": (b"", 400),
}


@pytest.mark.fault("F51")
def test_a_hostile_body_is_refused_with_a_reason_and_kept_nowhere(server):
    port, pid = server
    before = memory_mb(pid)
    for name, (body, expected) in HOSTILE.items():
        status, problem = ask(port, body)
        assert status == expected, name
        assert problem["detail"], name
    assert ask(port, args(b"1"), "text/plain")[0] == 415
    assert ask(port, args(b"1"))[0] == 202
    assert memory_mb(pid) - before < ROOM_MB


def test_a_number_of_a_million_digits_is_cut_off(server):
    port, pid = server
    before = memory_mb(pid)
    try:
        status = ask(port, args(b"9" * 1_000_000))[0]
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # it was cut off; the answer may be lost with what was on its way
    assert status == 413
    assert memory_mb(pid) - before < ROOM_MB
    assert ask(port, args(b"1"))[0] == 202


@pytest.mark.fault("F50")
def test_what_would_have_to_be_unpacked_or_bears_no_length_is_refused(server):
    port, pid = server
    before, bomb = memory_mb(pid), zlib.compress(b"x" * (64 << 20))
    for coding in ("gzip", "br", "deflate", "zstd", "gzip, gzip", "unknown"):
        with connect(port) as sock:
            sock.sendall(head(f"Content-Length: {len(bomb)}\r\nContent-Encoding: {coding}") + bomb)
            assert answer(sock)[0] == 415, coding
    assert ask(port, b"--b\r\n\r\n\r\n" * 1_000, "multipart/form-data; boundary=b")[0] == 415
    for length in ("-1", "1e3", "+5", "5, 6", "0x10", "9" * 40):
        with connect(port) as sock:
            sock.sendall(head(f"Content-Length: {length}") + b"{}")
            assert int(sock.recv(65536).split()[1]) in {400, 413}, length
    assert ask(port, args(b"1"))[0] == 202
    assert memory_mb(pid) - before < ROOM_MB


@pytest.mark.fault("F50")
def test_two_gigabytes_in_chunks_are_cut_off_early_with_the_memory_flat(server):
    port, pid = server
    before, chunk, sent = memory_mb(pid), b"x" * (1 << 20), 0
    piece = b"100000\r\n" + chunk + b"\r\n"
    with connect(port) as sock:
        sock.sendall(head("Transfer-Encoding: chunked"))
        try:
            while sent < 2 << 30:
                sock.sendall(piece)
                sent += len(chunk)
            status = answer(sock)[0]
        except (BrokenPipeError, ConnectionResetError):
            status = 413  # it was cut off; the answer may be lost with what was on its way
    assert status == 413
    assert sent < 64 << 20
    assert memory_mb(pid) - before < ROOM_MB
    assert ask(port, args(b"1"))[0] == 202


def test_a_length_of_two_gigabytes_is_refused_unread(server):
    port, _ = server
    with connect(port) as sock:
        sock.sendall(head(f"Content-Length: {2 << 30}"))
        assert answer(sock)[0] == 413


@pytest.mark.fault("F49")
def test_bodies_that_never_end_keep_nobody_waiting(server):
    port, pid = server
    before = memory_mb(pid)
    slow = [connect(port) for _ in range(200)]
    try:
        for sock in slow:
            sock.sendall(head("Content-Length: 1000") + b"{")
        for _ in range(20):
            assert ask(port, args(b"1"))[0] == 202
        assert memory_mb(pid) - before < ROOM_MB
    finally:
        for sock in slow:
            sock.close()


@pytest.mark.fault("F16")
def test_fifty_connections_with_one_key_make_one_job(server):
    port, _ = server
    body, found, gate = args(b"1"), [], threading.Barrier(50)
    start = head(f"Content-Length: {len(body)}\r\nIdempotency-Key: k")

    def submit():
        with connect(port) as sock:
            gate.wait()
            sock.sendall(start + body)
            found.append(answer(sock))

    threads = [threading.Thread(target=submit) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {status for status, _ in found} <= {200, 202}
    assert len({job["id"] for _, job in found}) == 1
