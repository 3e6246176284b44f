"""The web server of an app, as the SDK knows it: an ASGI application that the package names."""

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import entry_points
from typing import Any

from outlast.core.errors import CapabilityError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Web = Callable[[Scope, Receive, Send], Awaitable[None]]


def web_of(app: object) -> Web:
    """Make the web server of an app; raise CapabilityError where its libraries are missing.

    The server is built on the SDK, so the SDK can't import it: the package's entry point does.
    """
    try:
        make: Callable[[object], Web] = entry_points(group="outlast.web")["api"].load()
    except ModuleNotFoundError as error:
        raise CapabilityError(
            f"the API needs an extra: {error}", hint="pip install 'outlast[api]'"
        ) from error
    return make(app)
