"""The `jobs` fixture, in a project of its own: under anyio's plugin, under none, in plain code."""

import os
import subprocess
import sys

import pytest

APP = """
import asyncio

from outlast import Job, Outlast

app = Outlast(ledger="sqlite:////nowhere/outlast.db")
done = []

@app.task
async def remind(job: Job, user_id: int) -> None:
    await job.step("send", done.append, user_id)
    await asyncio.sleep(3 * 86_400)
"""

ASYNC = """
from shop import done, remind

{mark}
async def test_remind(jobs):
    handle = await remind.options(delay="1d").submit(user_id=7)
    jobs.assert_submitted(remind.options(delay="1d"), user_id=7)
    jobs.crash_at("step:send", recorded=True)
    await jobs.advance("5d")
    assert (jobs.job(handle).status, jobs.runs(remind), done) == ("completed", 2, [7])
"""

SYNC = """
from shop import remind

def test_remind(jobs):
    handle = jobs.submit(remind, user_id=7)
    jobs.drain()
    assert jobs.job(handle).status == "completed"

def test_a_fresh_ledger(jobs):
    assert jobs.submitted == []
"""


@pytest.fixture
def project(tmp_path):
    """Run pytest on a project, as its owner does."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "pytest.ini").write_text("[pytest]\noutlast_app = shop:app\npythonpath = .\n")

    def run(test, *options):
        (tmp_path / "test_shop.py").write_text(test)
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OUTLAST_")}
        return subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("mark", "options"),
    [("", ["-p", "no:anyio"]), ("import pytest\n@pytest.mark.anyio", [])],
    ids=["no plugin", "anyio"],
)
def test_a_coroutine_test_has_its_jobs_whatever_runs_it(project, mark, options):
    backend = "\nimport pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"

    ran = project(ASYNC.format(mark=mark) + (backend if mark else ""), *options)

    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def test_plain_tests_have_theirs(project):
    ran = project(SYNC)

    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("is_async", [True, False])
def test_a_crash_that_does_not_come_fails_the_test(project, is_async):
    begin, wait = ("async ", "await ") if is_async else ("", "")
    test = f"""
{begin}def test_remind(jobs):
    jobs.crash_at("step:sned")
    {wait}jobs.advance("5d")
"""

    ran = project(test, "-p", "no:anyio")

    assert "crash_at('step:sned'): no job came there" in ran.stdout, ran.stdout
    assert ran.returncode == 1


def test_a_project_that_names_no_app_is_told_how(project, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")

    ran = project(SYNC)

    assert 'outlast_app = "shop.jobs:app"' in ran.stdout


def test_pytest_starts_without_loading_the_product_and_no_test_needs_hypothesis():
    program = """
import sys
sys.modules["hypothesis"] = None
import outlast.testing.plugin
assert "outlast.sdk.app" not in sys.modules
from outlast.testing import testing
"""

    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)
