"""Settings: a flag beats an OUTLAST_* variable, which beats outlast.yaml."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import yaml

from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import SECOND

_LISTS: Final = frozenset({"queues"})
_NUMBERS: Final = frozenset({"port", "concurrency", "processes"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how many run."""

    ledger: str = "sqlite:///outlast.db"
    broker: str = "ledger"
    blobs: str = "outlast-blobs"
    host: str = "127.0.0.1"
    port: int = 8000
    queues: tuple[str, ...] = ()  # empty: all queues of the app's tasks
    concurrency: int = 16  # jobs at once in one process
    processes: int = 2
    grace: float = 30.0  # seconds that a stopping worker gives its running jobs
    config: str | None = None
    queue_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, **flags: Any) -> "Settings":
        """Read the settings; raise InvalidInputError that names every wrong one at once."""
        values: dict[str, Any] = {}
        path = flags.get("config") or os.environ.get("OUTLAST_CONFIG")
        file = Path(path or "outlast.yaml")
        if path and not file.is_file():
            raise InvalidInputError(f"config: there is no file {path}", hint="check --config")
        if file.is_file():
            values |= _read(file)
        for item in fields(cls):
            variable = os.environ.get(f"OUTLAST_{item.name.upper()}")
            if variable is not None:
                values[item.name] = variable.split(",") if item.name in _LISTS else variable
        values |= {name: value for name, value in flags.items() if value not in (None, ())}
        return _checked(cls, values)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text("utf-8")) or {}
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"config {file}: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"config {file}: expected a mapping of settings")
    values = dict(found)
    if isinstance(values.get("queues"), dict):
        values["queue_settings"] = values.pop("queues")
    return values


def _number(value: Any) -> Any:
    """Read what a variable says: `30` and `"30"` are seconds, `"30s"` is a duration."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _checked(cls: type[Settings], values: dict[str, Any]) -> Settings:
    wrong: list[str] = []
    names = {item.name for item in fields(cls)}
    clean: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            wrong.append(f"{name}: no such setting (known: {', '.join(sorted(names))})")
        elif name in _NUMBERS:
            if not str(value).isdigit() or (int(value) < 1 and name != "port"):
                wrong.append(f"{name}: expected a whole number from 1, got {value!r}")
            else:
                clean[name] = int(value)
        elif name in _LISTS:
            clean[name] = tuple(value)
        elif name == "grace":
            try:
                clean[name] = duration_us(_number(value), field=name) / SECOND
            except InvalidInputError as error:
                wrong.append(error.message)
        else:
            clean[name] = value
    if wrong:
        raise InvalidInputError("settings: " + "; ".join(wrong))
    return replace(cls(), **clean)
