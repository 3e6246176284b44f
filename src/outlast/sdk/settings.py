"""Settings: a flag beats an OUTLAST_* variable, which beats outlast.yaml."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from outlast.broker import check_broker
from outlast.broker.routes import LEDGER, Routes
from outlast.broker.topic import read_plan
from outlast.core.deployment import Deployment
from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import PAYLOAD_BYTES_MAX, SECOND
from outlast.core.queue import QueueRules, check_queue_name
from outlast.core.retention import Retention
from outlast.sdk.config import ConfigFile, read_config

_LISTS: Final = frozenset({"queues", "except_queues"})
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how many run."""

    ledger: str = "sqlite:///outlast.db"
    broker: str = LEDGER
    blobs: str = "outlast-blobs"
    events: str = ""  # the topic that job events are published to; empty: none
    host: str = "127.0.0.1"
    port: int = 8000
    health_host: str = "127.0.0.1"
    health_port: int | None = None  # where the supervisor answers probes; None: nowhere
    queues: tuple[str, ...] = ()  # empty: all queues of the app's tasks
    except_queues: tuple[str, ...] = ()  # those that other nodes work on
    concurrency: int = 16  # jobs at once in one process
    processes: int = 2
    grace: float = 30.0  # seconds that a stopping worker gives its running jobs
    max_payload: int = PAYLOAD_BYTES_MAX  # bytes of one job's arguments, result or step result
    cgroup: str = "auto"  # around isolated jobs; or off, or the folder of a delegated cgroup v2
    retention: Mapping[str, Any] = field(default_factory=dict)  # see `core.retention`
    deploy: Mapping[str, Any] = field(default_factory=dict)  # see `core.deployment`
    config: str | None = None
    queue_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, **flags: Any) -> "Settings":
        """Read the settings; raise InvalidInputError that names every wrong one at once."""
        path = flags.get("config") or os.environ.get("OUTLAST_CONFIG")
        file = Path(path or "outlast.yaml")
        if path and not file.is_file():
            raise InvalidInputError(f"config: there is no file {path}", hint="check --config")
        config = read_config(file) if file.is_file() else ConfigFile(file)
        wrong: list[str] = []
        values = dict(config.values)
        places = {name: config.at(name) for name in values}
        blocks = flags.pop("queue_settings", None) or {}
        if isinstance(values.get("queues"), dict):
            blocks = values.pop("queues") | blocks
        for item in fields(cls):
            variable = os.environ.get(f"OUTLAST_{item.name.upper()}")
            if variable is not None:
                values[item.name] = variable.split(",") if item.name in _LISTS else variable
                places[item.name] = f"OUTLAST_{item.name.upper()}"
        given = {name: value for name, value in flags.items() if value not in (None, ())}
        blocks = _queues(blocks, config, wrong)
        clean = _checked(cls, values | given, places | {name: name for name in given}, wrong)
        if wrong:
            raise InvalidInputError("settings: " + "; ".join(wrong))
        return cls(**clean, queue_settings=blocks)

    def rules(self, queue: str) -> QueueRules:
        """Return what the settings say of a queue."""
        rules = QueueRules.read(self.queue_settings.get(queue, {}))
        return replace(rules, broker=rules.broker or self.broker)

    @property
    def routes(self) -> Routes:
        """Which broker each queue has."""
        own = {name: said.get("broker") for name, said in self.queue_settings.items()}
        return Routes(self.broker, {name: url for name, url in own.items() if url})

    def routed(self, routes: Routes) -> "Settings":
        """Return these settings with other brokers."""
        blocks = {
            name: {**said, "broker": routes.own[name]} if name in routes.own else said
            for name, said in self.queue_settings.items()
        }
        return replace(self, broker=routes.default, queue_settings=blocks)


def placed(url: str) -> str:
    """Make a file's place independent of the working folder: `sqlite:///path`, or a plain path.

    >>> placed("s3://bucket/files"), placed("sqlite:////var/jobs.db")
    ('s3://bucket/files', 'sqlite:////var/jobs.db')
    """
    if url.startswith("sqlite:///"):
        return f"sqlite:///{Path(url.removeprefix('sqlite:///')).resolve()}"
    return url if "://" in url else str(Path(url).resolve())


def _queues(
    given: dict[Any, Any], config: ConfigFile, wrong: list[str]
) -> dict[str, dict[str, Any]]:
    """Check the block of queues; each mistake is told with its line."""
    for name, settings in given.items():
        bad = check_queue_name(name)
        if bad is not None:
            wrong.append(f"{config.at('queues', str(name))}: {bad}")
        elif not isinstance(settings, dict | None):
            where = config.at("queues", name)
            wrong.append(f"{where}: expected a mapping of settings, got {settings!r:.60}")
        else:
            try:
                said = {str(key): value for key, value in (settings or {}).items()}
                if QueueRules.read(said).broker:
                    _check_broker_of(said)
            except InvalidInputError as error:
                parts: Any = error.facts["errors"]
                for part in parts:
                    where = config.at("queues", name, part["path"])
                    wrong.append(f"{where}: {part['message']}")
    return {name: dict(settings or {}) for name, settings in given.items()} if not wrong else {}


def _check_broker_of(said: Mapping[str, Any]) -> None:
    try:
        _broker(said["broker"])
    except InvalidInputError as error:
        part = {"path": "broker", "message": error.message}
        raise InvalidInputError(error.message, errors=[part]) from error


def _number(value: Any) -> Any:
    """Read what a variable says: `30` and `"30"` are seconds, `"30s"` is a duration."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _checked(
    cls: type[Settings], values: dict[str, Any], places: dict[str, str], wrong: list[str]
) -> dict[str, Any]:
    names = {item.name for item in fields(cls)} - {"queue_settings"}
    clean: dict[str, Any] = {}
    for name, value in values.items():
        where = places[name]
        reader: Callable[[Any], Any] = _READERS.get(name, _text)
        if name not in names:
            wrong.append(f"{where}: no such setting (known: {', '.join(sorted(names))})")
        else:
            try:
                clean[name] = reader(value)
            except InvalidInputError as error:
                wrong.append(f"{where}: {error.message.removeprefix('value: ')}")
    return clean


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"expected a text, got {value!r:.60}")
    return value


def _broker(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInputError("expected ledger, or the URL of a broker")  # may have a password
    if value != LEDGER:
        try:
            check_broker(value)
        except InvalidInputError as error:
            raise InvalidInputError(error.message.removeprefix("broker: ")) from error
    return value


def _events(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInputError("expected the URL of a topic")  # it may have a password
    try:
        if value:
            read_plan(value)
    except InvalidInputError as error:
        raise InvalidInputError(error.message.removeprefix("events: ")) from error
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdigit() or int(value) < 1:
        raise InvalidInputError(f"expected a whole number from 1, got {value!r:.60}")
    return int(value)


def _port(value: Any) -> int:
    port = 0 if str(value) == "0" else _whole(value)
    if port > _PORT_MAX:
        raise InvalidInputError(f"expected a port from 0 to {_PORT_MAX}, got {value!r:.60}")
    return port


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise InvalidInputError(f"expected names of queues, got {value!r:.60}")
    return tuple(value)


def _seconds(value: Any) -> float:
    return duration_us(_number(value), field="value") / SECOND


def _retention(value: Any) -> Mapping[str, Any]:
    Retention.read(value)
    return dict(value)


def _deploy(value: Any) -> Mapping[str, Any]:
    Deployment.read(value)
    return dict(value)


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "queues": _names,
    "except_queues": _names,
    "broker": _broker,
    "events": _events,
    "port": _port,
    "health_port": _port,
    "concurrency": _whole,
    "processes": _whole,
    "max_payload": _whole,
    "retention": _retention,
    "deploy": _deploy,
    "grace": _seconds,
}
