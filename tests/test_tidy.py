"""The laws of the house hold in every file, and each law can be broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import laws
from tests.laws import Breach

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
CODE = sorted(SOURCE.rglob("*.py"))
# Files a person reads, Python or not, are bound by the same length.
READ_BY_PEOPLE = sorted(
    path for suffix in ("py", "sql", "js", "css", "html") for path in SOURCE.rglob(f"*.{suffix}")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))

SYSTEM = SOURCE / "outlast/system.py"
TESTING = SOURCE / "outlast/testing"
# The part of the engine that simulated worlds run; a seed must own every order in it.
SIMULATED = (
    "core", "workflow", "worker/pool.py", "worker/attempt.py", "worker/held.py",
    "worker/intake.py", "worker/lane.py", "upkeep/relay.py", "broker/publisher.py",
    "worker/effects.py", "worker/supervisor.py", "upkeep/loop.py", "ledger/memory.py",
    "ledger/memory_rows.py", "sdk/context.py", "sdk/handle.py", "sdk/resume.py",
)  # fmt: skip
CONNECTIONS = tuple((SOURCE / "outlast/ledger").glob("*/connection.py"))
# The rooms that use the product as its users do.
OUTSIDE = (SOURCE / "outlast/cli", TESTING)
# Started by an installed script, by `python -m`, by a test runner, by `manage.py`, or loaded as the
# adapter of the library that a user's connection is of: no import shows it.
ENTRIES = frozenset(
    {
        "outlast",
        "outlast.__main__",
        "outlast.cli",
        "outlast.cli.probe",  # of an image, which has no curl
        "outlast.django.management.commands.outlast_worker",
        "outlast.ledger.within.apsw",
        "outlast.ledger.within.asyncpg",
        "outlast.ledger.within.django",
        "outlast.ledger.within.psycopg",
        "outlast.ledger.within.sqlalchemy",
        "outlast.testing.plugin",
    }
)


def broken(paths: list[Path], law: Callable[[Path, str], list[Breach]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{breach.line}: {breach.what}"
        for path in paths
        for breach in law(path, path.read_text(encoding="utf-8"))
    ]


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def texts(paths: list[Path], root: Path) -> dict[str, str]:
    return {module_name(path, root): path.read_text(encoding="utf-8") for path in paths}


def test_there_is_a_house_to_judge():
    assert SYSTEM in CODE
    assert len(CODE) > 10


def test_a_file_is_at_most_400_lines():
    assert broken(READ_BY_PEOPLE, lambda _, text: laws.breaches_of_file_length(text)) == []


def test_a_function_is_at_most_70_lines():
    assert broken(CODE, lambda _, text: laws.breaches_of_function_length(text)) == []


def test_clock_and_dice_live_in_one_file():
    def law(path: Path, text: str) -> list[Breach]:
        seeded = path.is_relative_to(TESTING)
        return [] if path == SYSTEM else laws.breaches_of_clock_and_dice(text, seeded=seeded)

    assert broken(CODE, law) == []


def test_what_the_simulator_runs_starts_no_thread():
    engine = [SOURCE / "outlast" / path for path in SIMULATED]
    files = [file for path in engine for file in (path.rglob("*.py") if path.is_dir() else [path])]

    assert broken(files, lambda _, text: laws.breaches_of_no_threads(text)) == []


def test_sql_lives_in_sql_files():
    def law(path: Path, text: str) -> list[Breach]:
        return laws.breaches_of_sql_in_strings(text, connection=path in CONNECTIONS)

    assert broken(CODE, law) == []


def test_nothing_that_is_read_can_run():
    assert broken(CODE, lambda _, text: laws.breaches_of_safe_loading(text)) == []


def test_tests_never_sleep():
    assert broken(TESTS, lambda _, text: laws.breaches_of_no_sleep(text)) == []


def test_rooms_never_import_the_front_door():
    door = SOURCE / "outlast/__init__.py"
    inside = [path for path in CODE if not any(path.is_relative_to(room) for room in OUTSIDE)]
    inside.remove(door)

    assert broken(inside, lambda _, text: laws.breaches_of_no_root_import(text)) == []


def test_every_module_is_imported_by_another():
    modules = texts(CODE, SOURCE)
    packages = {module_name(path, SOURCE) for path in CODE if path.name == "__init__.py"}
    shipped = {name: text for name, text in texts(TESTS, ROOT).items() if "outlast.testing" in text}

    dead = laws.modules_nobody_imports(modules, shipped, ENTRIES | packages)

    assert dead == []


# Each law is shown to have teeth: what must be caught, and what must pass.


@pytest.mark.parametrize(("lines", "caught"), [(400, False), (401, True)])
def test_the_law_of_file_length_has_teeth(lines, caught):
    assert bool(laws.breaches_of_file_length("x = 1\n" * lines)) is caught


@pytest.mark.parametrize(("lines", "caught"), [(70, False), (71, True)])
@pytest.mark.parametrize("head", ["def f():", "async def f():", "@decorator\ndef f():"])
def test_the_law_of_function_length_has_teeth(head, lines, caught):
    body = "    x = 1\n" * (lines - len(head.splitlines()))

    assert bool(laws.breaches_of_function_length(f"{head}\n{body}")) is caught


@pytest.mark.parametrize(
    "planted",
    [
        "import time\ntime.time()",
        "import time as clock\nclock.monotonic_ns()",
        "from time import perf_counter",
        "import time\ntime.sleep(1)",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime as moment, UTC\nmoment.now(UTC)",
        "from datetime import datetime\nmake = datetime.utcnow",
        "from datetime import date\ndate.today()",
        "import random\nrandom.random()",
        "import random\nrandom.Random(1)",
        "import uuid\nuuid.uuid4()",
        "from uuid import uuid7",
        "import secrets\nsecrets.token_hex()",
        "from os import urandom",
        "import os\nos.urandom(8)",
    ],
)
def test_the_law_of_clock_and_dice_has_teeth(planted):
    assert laws.breaches_of_clock_and_dice(planted)


@pytest.mark.parametrize(
    "innocent",
    [
        "# time.time()",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "from uuid import UUID\nUUID(text)",
        "import uuid\nuuid.UUID(text)",
        "job.time.now()",
        "loop.time()",
    ],
)
def test_the_law_of_clock_and_dice_spares_arithmetic(innocent):
    assert laws.breaches_of_clock_and_dice(innocent) == []


def test_only_a_die_with_a_seed_is_spared_and_only_for_the_simulator():
    assert not laws.breaches_of_clock_and_dice("import random\nrandom.Random(7)", seeded=True)
    assert laws.breaches_of_clock_and_dice("import random\nrandom.random()", seeded=True)


@pytest.mark.parametrize(
    "planted",
    [
        'q = "SELECT 1"',
        'q = "select id from job"',
        'q = """\n    -- newest first\n    select id\n    from job\n"""',
        'q = "INSERT INTO job VALUES (1)"',
        'q = "insert or ignore into job values (1)"',
        'q = "UPDATE job SET status = 1"',
        'q = "DELETE FROM job"',
        'q = "CREATE TABLE job (id)"',
        'q = "create unique index job_key on job (key)"',
        'q = "WITH due AS (SELECT 1) x"',
        'q = f"SELECT {columns} FROM {table}"',
        'q = f"UPDATE {table} SET status = 1"',
        'q = "UPDATE " + table + " SET status = 1"',
        'q = "DELETE FROM %s" % table',
        'q = "PRAGMA synchronous = FULL"',
        'q = "BEGIN IMMEDIATE"',
        'q = "COMMIT"',
    ],
)
def test_the_law_of_sql_has_teeth(planted):
    assert laws.breaches_of_sql_in_strings(planted)


@pytest.mark.parametrize(
    "innocent",
    [
        '"""Update the row.\n\nselect id from job\n"""',
        'x = "update"',
        'x = "Select the queue to pause."',
        'x = "created by hand, with care"',
        'x = "begin"',
        "# SELECT 1",
    ],
)
def test_the_law_of_sql_spares_prose(innocent):
    assert laws.breaches_of_sql_in_strings(innocent) == []


def test_only_the_connection_may_open_a_transaction():
    assert not laws.breaches_of_sql_in_strings('q = "BEGIN IMMEDIATE"', connection=True)
    assert not laws.breaches_of_sql_in_strings('q = "PRAGMA journal_mode = WAL"', connection=True)
    assert laws.breaches_of_sql_in_strings('q = "SELECT 1"', connection=True)


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import marshal\nmarshal.loads(b'')",
        "from yaml import load",
        "import yaml\nyaml.load(text)",
        "import yaml as y\ny.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "run = eval",
    ],
)
def test_the_law_of_safe_loading_has_teeth(planted):
    assert laws.breaches_of_safe_loading(planted)


@pytest.mark.parametrize("innocent", ["import yaml\nyaml.safe_load(text)", "connection.exec()"])
def test_the_law_of_safe_loading_spares_the_safe(innocent):
    assert laws.breaches_of_safe_loading(innocent) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import time\ntime.sleep(1)",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)",
        "from anyio import sleep",
        "from asyncio import sleep as pause",
        "anyio.sleep_forever()",
    ],
)
def test_the_law_against_sleep_has_teeth(planted):
    assert laws.breaches_of_no_sleep(planted)


@pytest.mark.parametrize(
    "planted",
    [
        "import threading\nthreading.Thread(target=f)",
        "from concurrent.futures import ThreadPoolExecutor",
        "import asyncio\nasyncio.to_thread(f)",
        "from asyncio import to_thread as off",
        "loop.run_in_executor(None, f)",
    ],
)
def test_the_law_against_threads_has_teeth(planted):
    assert laws.breaches_of_no_threads(planted)
    assert laws.breaches_of_no_threads("import asyncio\nasyncio.create_task(f())") == []


@pytest.mark.parametrize("planted", ["import outlast", "from outlast import Outlast"])
def test_the_law_against_the_front_door_has_teeth(planted):
    assert laws.breaches_of_no_root_import(planted)
    assert laws.breaches_of_no_root_import("from outlast import system") == []


def test_the_law_against_dead_modules_has_teeth():
    modules = {
        "outlast": "from outlast.sdk.app import App",
        "outlast.sdk.app": "from . import handle\nfrom .job import Job",
        "outlast.sdk.handle": "",
        "outlast.sdk.job": "import outlast.sdk.job",
        "outlast.worker.child": "",
        "outlast.worker.parent": 'command = [python, "-m", "outlast.worker.child"]',
        "outlast.testing.suite": "",
        "outlast.lonely": "import outlast.lonely",
    }
    tests = {"tests.test_suite": "from outlast.testing import suite"}

    dead = laws.modules_nobody_imports(modules, tests, frozenset({"outlast"}))

    assert dead == ["outlast.lonely", "outlast.worker.parent"]


def test_each_decision_bears_a_number_of_its_own_and_says_it():
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    numbers = [int(path.name[:4]) for path in records]
    said = [int(path.read_text("utf-8").partition(".")[0].removeprefix("# ")) for path in records]

    assert numbers == said == list(range(1, len(records) + 1))
