"""The door that users come in by: `testing(app)`, for tests with an event loop and without one."""

from typing import Any

from outlast.sdk.app import Outlast
from outlast.testing.bench import Testing
from outlast.testing.sync import SyncTesting


class testing:  # noqa: N801 - reads as a function: `with testing(app) as t`
    """Put an app's jobs on a ledger in memory, and its time in the test's hands.

    >>> from outlast import Outlast
    >>> app = Outlast()
    >>> @app.task
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> with testing(app) as t:
    ...     handle = t.submit(add.options(delay="1d"), a=1, b=2)
    ...     t.advance("1d")
    ...     t.job(handle).result
    {'completed': 1}
    3
    """

    __test__ = False

    def __init__(self, app: Outlast, **options: Any) -> None:
        """Take the options of `Testing`: `now`, `workers`, `patience`, `seed`."""
        self._inner = Testing(app, **options)
        self._sync = SyncTesting(self._inner)

    async def __aenter__(self) -> Testing:
        return await self._inner.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        __tracebackhide__ = True
        await self._inner.__aexit__(*error)

    def __enter__(self) -> SyncTesting:
        return self._sync.__enter__()

    def __exit__(self, *error: object) -> None:
        __tracebackhide__ = True
        self._sync.__exit__(*error)
