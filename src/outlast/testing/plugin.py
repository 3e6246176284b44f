"""The pytest plugin: a `jobs` fixture, with any asyncio plugin or none."""

import asyncio
import functools
import inspect
from collections.abc import Generator, Iterator
from typing import Any

import pytest

_HOW = """the `jobs` fixture must know your app: name it in pytest's configuration,

    [tool.pytest.ini_options]
    outlast_app = "shop.jobs:app"

or define a fixture `outlast_app` that returns it"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the setting that names the app."""
    parser.addini("outlast_app", "the app of the `jobs` fixture: `module:name`", default="")


@pytest.fixture
def outlast_app(request: pytest.FixtureRequest) -> Any:
    """Return the app of the `jobs` fixture: the one that the setting `outlast_app` names."""
    from outlast.sdk.load import load_app  # noqa: PLC0415 - only when it is used

    reference = str(request.config.getini("outlast_app"))
    if not reference:
        raise pytest.UsageError(_HOW)
    return load_app(reference)


@pytest.fixture
def jobs(request: pytest.FixtureRequest, outlast_app: Any) -> Iterator[Any]:
    """Give the app's jobs, in memory, with time in the test's hands; see docs/testing.md."""
    from outlast.testing import Testing, testing  # noqa: PLC0415 - only when it is used

    if not inspect.iscoroutinefunction(request.function):
        with testing(outlast_app) as t:
            yield t
        return
    bench = Testing(outlast_app).open()
    yield bench  # what is bound to the test's event loop ends with the test's body, see below
    bench.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let a test that is a coroutine end its jobs on its own event loop, whoever made that."""
    jobs: Any = getattr(item, "funcargs", {}).get("jobs")
    test: Any = getattr(item, "obj", None)
    if _is_ours(jobs) and inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def to_its_end(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            try:
                await test(*args, **kwargs)
            finally:
                await jobs.end()
            jobs.check()

        item.obj = to_its_end  # type: ignore[attr-defined]
    return (yield)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a coroutine that uses `jobs` when no plugin for asyncio does."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or not _is_ours(
        pyfuncitem.funcargs.get("jobs")
    ):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _is_ours(jobs: object) -> bool:
    """Whether it is this plugin's: a project may have a fixture of this name of its own."""
    if jobs is None:
        return False
    from outlast.testing.bench import Testing  # noqa: PLC0415 - most tests don't use it

    return isinstance(jobs, Testing)
