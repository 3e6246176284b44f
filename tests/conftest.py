"""What every test relies on: one event loop backend, and no test that vanishes in silence."""

import os

import pytest

pytest_plugins = ["tests.brokers", "tests.bucket", "tests.postgres"]

ROOT_REASON = "needs root: run the tests as root, as CI does"
HISTORY_REASON = "needs the repository's history: run the tests in a clone"
POOLER_REASON = "needs PgBouncer: apt-get install pgbouncer"
SERVER_REASON = "needs a server of"
SYSTEMD_REASON = "needs systemd-analyze: apt-get install systemd"
REQUIRE = "OUTLAST_REQUIRE"


def needs_history(why):
    """Skip a test that can't take old code out of git; fail where `history` is required."""
    if "history" in os.environ.get(REQUIRE, "").split(","):
        pytest.fail(f"{HISTORY_REASON} ({why.strip()})")
    pytest.skip(HISTORY_REASON)


def needs_pooler(program):
    """Skip a test where there is no PgBouncer; fail where CI, which installs it, requires root."""
    if program is None and "root" in os.environ.get(REQUIRE, "").split(","):
        pytest.fail(POOLER_REASON)
    if program is None:
        pytest.skip(POOLER_REASON)


def needs_server(name, why):
    """Skip a test whose server can't be started here; fail where CI requires it, or root."""
    if {"root", name} & set(os.environ.get(REQUIRE, "").split(",")) or "CI" in os.environ:
        pytest.fail(f"{SERVER_REASON} {name}: {why}")
    pytest.skip(f"{SERVER_REASON} {name}: {why}")


def needs_systemd(program):
    """Skip a test where nothing judges units; fail where CI, which installs it, requires root."""
    if program is None and {"root", "systemd"} & set(os.environ.get(REQUIRE, "").split(",")):
        pytest.fail(SYSTEMD_REASON)
    if program is None:
        pytest.skip(SYSTEMD_REASON)


@pytest.fixture(scope="session")
def anyio_backend():
    """Run every async test on asyncio, the only backend the product has."""
    return "asyncio"


def pytest_collection_modifyitems(config, items):
    """Without root, skip the tests that need it; where CI requires root, fail instead."""
    required = os.environ.get(REQUIRE, "").split(",")
    if os.geteuid() == 0:
        return
    needy = [item for item in items if item.get_closest_marker("root")]
    if needy and "root" in required:
        raise pytest.UsageError(f"{REQUIRE} asks for root, and {len(needy)} tests need it")
    for item in needy:
        item.add_marker(pytest.mark.skip(reason=ROOT_REASON))


def pytest_terminal_summary(terminalreporter):
    """Say aloud what was not tested for want of what."""
    skipped = terminalreporter.stats.get("skipped", [])
    wants = {
        ROOT_REASON: "root",
        HISTORY_REASON: "the history",
        POOLER_REASON: "PgBouncer",
        SERVER_REASON: "a broker's server",
        SYSTEMD_REASON: "systemd",
    }
    for reason, what in wants.items():
        missed = [
            report
            for report in skipped
            if isinstance(report.longrepr, tuple) and reason in report.longrepr[2]
        ]
        if missed:
            terminalreporter.write_line(
                f"WARNING: {len(missed)} tests that need {what} did NOT run", red=True, bold=True
            )
