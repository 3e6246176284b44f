"""Finds the app that a command line names: a file, a module, or `module:name`."""

import importlib
import sys
from pathlib import Path

from outlast.core.errors import InvalidInputError
from outlast.sdk.app import Outlast


def load_app(reference: str) -> Outlast:
    """Import the app; raise InvalidInputError that says what was looked for and where."""
    place, _, name = reference.partition(":")
    if place.endswith(".py") or "/" in place:
        module = _from_file(Path(place))
    else:
        sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise InvalidInputError(f"app {reference}: {error}") from error
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, Outlast):
            raise InvalidInputError(f"app {reference}: {name} is no Outlast app in {place}")
        return found
    apps = [value for value in vars(module).values() if isinstance(value, Outlast)]
    if len(apps) != 1:
        raise InvalidInputError(
            f"app {reference}: expected one Outlast app, found {len(apps)}", hint="use module:name"
        )
    return apps[0]


def _from_file(path: Path) -> object:
    if not path.is_file():
        raise InvalidInputError(f"app {path}: there is no such file")
    path = path.resolve()
    # A file inside a package is imported by its dotted name, so that its own imports work.
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    sys.path.insert(0, str(root))
    return importlib.import_module(".".join(parts))
