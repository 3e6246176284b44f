"""The private PostgreSQL of the tests is a real one, and leaves nothing behind."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from outlast.testing.postgres import IMMEDIATE, private_postgres

CHILD = """
import sys
from outlast.testing.postgres import IMMEDIATE, private_postgres
with private_postgres() as server:
    print(server.pid, server._folder, flush=True)
    sys.stdin.read()
"""


def asked(server, question, database="postgres"):
    return server.run("psql", "-d", database, "-Atc", question).strip()


def test_the_server_is_as_durable_as_any_other(postgres):
    names = ("fsync", "synchronous_commit", "full_page_writes")

    assert [asked(postgres, f"SHOW {name}") for name in names] == ["on"] * 3


def test_it_listens_on_this_machine_alone(postgres):
    assert asked(postgres, "SHOW listen_addresses") == "127.0.0.1"


def test_what_was_committed_survives_a_crash():
    with private_postgres() as server:
        server.create("kept")
        asked(server, "CREATE TABLE t AS SELECT 7 AS n", "kept")

        server.restart(IMMEDIATE)

        assert asked(server, "SELECT n FROM t", "kept") == "7"


def test_a_database_is_made_like_another(postgres):
    postgres.create("first")
    asked(postgres, "CREATE TABLE t (n int)", "first")

    postgres.create("second", template="first")

    assert asked(postgres, "SELECT count(*) FROM t", "second") == "0"
    postgres.drop("first")
    postgres.drop("second")


def test_nothing_is_left_of_it():
    with private_postgres() as server:
        folder, pid = server._folder, server.pid

    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_it_ends_with_the_process_that_started_it():
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid, folder = child.stdout.readline().split()
    watch = os.pidfd_open(int(pid))

    child.send_signal(signal.SIGKILL)
    child.wait(30)

    assert select.select([watch], [], [], 30)[0]
    os.close(watch)
    child.stdin.close()
    child.stdout.close()
    shutil.rmtree(folder)
