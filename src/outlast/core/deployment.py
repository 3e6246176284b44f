"""What a settings file says of where its app is deployed: the block `deploy`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from outlast.core.confinement import size_bytes
from outlast.core.errors import InvalidInputError

GIB: Final = 1024**3
_REPLICAS_MAX: Final = 10_000
_CPU_MIN: Final = 0.1
_CPU_MAX: Final = 1_024
_NAME_CHARS_MAX: Final = 30  # so that every name that is made of it stays one of DNS


@dataclass(frozen=True, slots=True)
class Size:
    """How many nodes of a kind there are, and what each may take."""

    replicas: int = 1
    cpu_millis: int = 1_000
    memory: int = GIB


@dataclass(frozen=True, slots=True)
class Ecs:
    """What ECS must know besides; what is left out stands as a place to fill in."""

    cluster: str = "default"
    region: str = "REGION"
    secret: str = "SECRET_ARN"  # noqa: S105 - the name of one
    execution_role: str = "EXECUTION_ROLE_ARN"
    task_role: str | None = None
    subnets: tuple[str, ...] = ("SUBNET",)
    security_groups: tuple[str, ...] = ("SECURITY_GROUP",)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where and how large: of everything, of the API, and of the workers of each queue."""

    name: str = "outlast"
    app: str | None = None
    image: str | None = None
    folder: str | None = None  # on a machine under systemd; None: /opt/NAME
    secret: str | None = None  # of Kubernetes; None: as everything is called
    variables: tuple[str, ...] = ()  # of the app's own, which are kept where the ledger's is
    api: Size = field(default_factory=Size)
    others: Size = field(default_factory=Size)  # workers of every queue that has none of its own
    queues: Mapping[str, Size] = field(default_factory=dict)
    ecs: Ecs = field(default_factory=Ecs)

    @classmethod
    def read(cls, given: Any) -> "Deployment":
        """Read the block; raise InvalidInputError that lists all that is wrong.

        >>> said = Deployment.read({"name": "studio", "queues": {"fast": {"replicas": 3}}})
        >>> said.queues["fast"].replicas, said.api.memory == 1024**3
        (3, True)
        """
        wrong: list[dict[str, str]] = []
        values = _read(given, "deploy", _READERS, wrong, _BLOCKS)
        if wrong:
            told = "; ".join(f"{entry['path']}: {entry['message']}" for entry in wrong)
            raise InvalidInputError(told, errors=wrong)
        return cls(**values)


_Wrong = list[dict[str, str]]
_Readers = Mapping[str, tuple[str, Callable[[Any], Any]]]
_Blocks = Mapping[str, Callable[[Any, str, _Wrong], Any]]


def _read(
    given: Any, path: str, readers: _Readers, wrong: _Wrong, blocks: _Blocks = MappingProxyType({})
) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        wrong.append({"path": path, "message": f"expected a mapping, got {given!r:.60}"})
        return {}
    values: dict[str, Any] = {}
    for name, value in given.items():
        here = f"{path}.{name}"
        if name in blocks:
            values[name] = blocks[name](value, here, wrong)
            continue
        if name not in readers:
            known = ", ".join((*readers, *blocks))
            wrong.append({"path": here, "message": f"no such setting; known: {known}"})
            continue
        target, reader = readers[name]
        try:
            values[target] = reader(value)
        except InvalidInputError as error:
            wrong.append({"path": here, "message": error.message.removeprefix("value: ")})
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidInputError(f"expected a line of text, got {value!r:.60}")
    return value


def _name(value: Any) -> str:
    text = _text(value)
    plain = text.replace("-", "a")
    is_plain = plain.isascii() and plain.isalnum() and plain == plain.lower()
    if not is_plain or not text[0].isalpha() or text[-1] == "-" or len(text) > _NAME_CHARS_MAX:
        raise InvalidInputError(
            f"expected up to {_NAME_CHARS_MAX} of a–z, 0–9 and -, a letter first, got {text!r:.60}"
        )
    return text


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise InvalidInputError(f"expected a list of texts, got {value!r:.60}")
    return tuple(_text(one) for one in value)


def _variables(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if not name.isidentifier() or not name.isascii():
            raise InvalidInputError(
                f"expected names of variables, whose values stay outside, got {name!r:.60}"
            )
    return names


def _replicas(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _REPLICAS_MAX:
        raise InvalidInputError(f"expected a whole number to {_REPLICAS_MAX}, got {value!r:.60}")
    return value


def _cpu(value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not _CPU_MIN <= value <= _CPU_MAX:
        raise InvalidInputError(
            f"expected how many processors, {_CPU_MIN}–{_CPU_MAX}, got {value!r:.60}"
        )
    return round(float(value) * 1_000)


def _memory(value: Any) -> int:
    return size_bytes(value, field="value")


def _size(value: Any, path: str, wrong: _Wrong) -> Size:
    return Size(**_read(value, path, _SIZE_READERS, wrong))


def _sizes(value: Any, path: str, wrong: _Wrong) -> Mapping[str, Size]:
    if not isinstance(value, Mapping):
        wrong.append({"path": path, "message": f"expected a mapping by queue, got {value!r:.60}"})
        return {}
    return {str(name): _size(size, f"{path}.{name}", wrong) for name, size in value.items()}


def _ecs(value: Any, path: str, wrong: _Wrong) -> Ecs:
    return Ecs(**_read(value, path, _ECS_READERS, wrong))


_SIZE_READERS: Final[_Readers] = {
    "replicas": ("replicas", _replicas),
    "cpu": ("cpu_millis", _cpu),
    "memory": ("memory", _memory),
}
_ECS_READERS: Final[_Readers] = {
    "cluster": ("cluster", _text),
    "region": ("region", _text),
    "secret": ("secret", _text),
    "execution_role": ("execution_role", _text),
    "task_role": ("task_role", _text),
    "subnets": ("subnets", _texts),
    "security_groups": ("security_groups", _texts),
}
_READERS: Final[_Readers] = {
    "name": ("name", _name),
    "app": ("app", _text),
    "image": ("image", _text),
    "folder": ("folder", _text),
    "secret": ("secret", _name),
    "variables": ("variables", _variables),
}
_BLOCKS: Final[_Blocks] = {"api": _size, "others": _size, "queues": _sizes, "ecs": _ecs}
