"""The settings file: YAML, read so that each mistake can be told with its line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from outlast.core.errors import InvalidInputError

Names = tuple[str, ...]


@dataclass(slots=True)
class ConfigFile:
    """What a file says, and on which line it says it."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Names, int] = field(default_factory=dict)

    def at(self, *names: str) -> str:
        """Say where a setting stands, for a message."""
        for length in range(len(names), 0, -1):
            line = self.lines.get(names[:length])
            if line is not None:
                return f"{self.path.name} line {line}: {'.'.join(names)}"
        return ".".join(names)


def read_config(path: Path) -> ConfigFile:
    """Read a settings file; raise InvalidInputError when it is no mapping or says a name twice."""
    try:
        text = path.read_text("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"config {path}: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"config {path}: expected a mapping of settings")
    found = ConfigFile(path, values)
    twice: list[str] = []
    for names, line in _places(root, ()):
        if names in found.lines:
            first = found.lines[names]
            twice.append(f"{path.name} line {line}: {'.'.join(names)} again, after line {first}")
        else:
            found.lines[names] = line
    if twice:
        raise InvalidInputError("settings: " + "; ".join(twice))
    return found


def _places(node: yaml.Node | None, above: Names) -> Iterator[tuple[Names, int]]:
    """Yield each name of a mapping and of the mappings in it, with its line from 1."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        names = (*above, str(key.value))
        yield names, key.start_mark.line + 1
        yield from _places(value, names)
