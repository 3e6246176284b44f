"""Code that can't be loaded is told once; what has run before it goes on."""

import json

import pytest

from tests.cli.rig import spawn

BROKEN = "from outlast import Outlast\n\napp = Outlast()\n\nraise ValueError('row 17')\n"
WHOLE = "from outlast import Outlast\n\napp = Outlast()\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(BROKEN, "utf-8")
    return path


def test_a_worker_says_once_what_is_wrong_with_the_code_and_ends(file, tmp_path):
    ledger = f"sqlite:///{tmp_path}/l.db"
    process = spawn("worker", file, "--ledger", ledger, "--processes", "3")

    _, said = process.communicate(timeout=30)

    assert process.returncode == 2
    assert said.count("can't be loaded") == 1
    assert said.count("ValueError: row 17") == 1
    assert f'File "{file}", line 5' in said
    assert "importlib" not in said


def test_dev_waits_for_the_code_to_be_mended(file, tmp_path):
    given = ("--ledger", f"sqlite:///{tmp_path}/l.db", "--blobs", str(tmp_path / "b"))
    process = spawn("dev", file, *given, "--port", "0", "--json")
    try:
        told = ""
        while "save the file to try again" not in told:
            told += process.stderr.readline()
        file.write_text(WHOLE, "utf-8")

        assert json.loads(process.stdout.readline())["event"] == "ready"
        assert told.count("ValueError: row 17") == 1
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_worker_refuses_another_ledger_than_the_one_that_the_code_submits_to(file, tmp_path):
    file.write_text(WHOLE.replace("Outlast()", f"Outlast(ledger='sqlite:///{tmp_path}/mine.db')"))
    process = spawn("worker", file, "--ledger", f"sqlite:///{tmp_path}/other.db")

    _, said = process.communicate(timeout=30)

    assert process.returncode == 2
    assert said.count(f"ledger: the code says 'sqlite:///{tmp_path}/mine.db'") == 1
    assert f"give --ledger sqlite:///{tmp_path}/mine.db" in said
