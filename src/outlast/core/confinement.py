"""What a job's own process may take and see: memory, time, processes, files, variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from outlast.core.errors import InvalidInputError
from outlast.core.limits import FILES_DEFAULT, PROCESSES_DEFAULT

_SIZE: Final = re.compile(r"^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?)(i?)B?\s*$", re.ASCII)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_MEMORY_MIN: Final = 8 * 1024 * 1024  # less than a Python interpreter needs to start
_MEMORY_MAX: Final = 1 << 50
COUNT_MIN: Final = 16  # fewer than an interpreter with a thread pool needs
COUNT_MAX: Final = 1_000_000

# What a program needs to find its files, its user, its language and its interpreter.
_PLAIN: Final = frozenset({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ"})
_PYTHON: Final = ("PYTHON", "VIRTUAL_ENV")
_NO_ENV: Final[Mapping[str, str]] = MappingProxyType({})

Env = str | tuple[str, ...] | list[str] | Mapping[str, str]


def size_bytes(value: str | int, *, field: str = "memory") -> int:
    """Read a size: `"512MB"`, `"2GB"`, `"1.5GiB"`, or a number of bytes; K is 1024, as in `ulimit`.

    >>> size_bytes("512MB")
    536870912
    """
    found = _SIZE.match(value) if isinstance(value, str) else None
    size = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if found:
        size = round(float(found[1]) * 1024 ** _POWERS[found[2]])
    if not _MEMORY_MIN <= size <= _MEMORY_MAX:
        raise InvalidInputError(
            f'{field}: expected a size such as "512MB" or "2GB", at least 8 MB, got {value!r:.80}'
        )
    return size


@dataclass(frozen=True, slots=True)
class Confinement:
    """The walls around the process tree of one attempt.

    There is no limit on memory and CPU time unless one is given, so that nothing ends a long job
    by surprise; those on processes and open files are wide, and stop what would harm neighbours.
    None leaves a wall to `or_else`.
    """

    memory: int | None = None  # bytes, of the whole tree
    cpu_us: int | None = None  # CPU time of the whole tree
    processes: int | None = None  # with their threads, of the whole tree
    files: int | None = None  # that each process may have open
    passes: frozenset[str] = frozenset()  # variables of the worker that come through
    passes_all: bool = False
    sets: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)

    def __post_init__(self) -> None:
        """Refuse what could not be kept."""
        for name, value in (("max_processes", self.processes), ("max_files", self.files)):
            if value is not None and (
                type(value) is not int or not COUNT_MIN <= value <= COUNT_MAX
            ):
                expected = f"expected a whole number from {COUNT_MIN} to {COUNT_MAX}"
                raise InvalidInputError(f"{name}: {expected}, got {value!r:.80}")

    def or_else(self, other: "Confinement") -> "Confinement":
        """Return these walls, with the other's where nothing is said of one here.

        >>> Confinement(files=64).or_else(Confinement(files=99, memory=1 << 30)).files
        64
        """
        return replace(
            self,
            memory=other.memory if self.memory is None else self.memory,
            cpu_us=other.cpu_us if self.cpu_us is None else self.cpu_us,
            processes=other.processes if self.processes is None else self.processes,
            files=other.files if self.files is None else self.files,
        )

    def environment(self, worker: Mapping[str, str], *, python: bool) -> dict[str, str]:
        """Return the variables that the job sees: few, unless the task lets more through.

        >>> Confinement().environment({"PATH": "/bin", "AWS_SECRET": "x"}, python=True)
        {'PATH': '/bin'}
        """
        return {
            **{name: value for name, value in worker.items() if self._comes_through(name, python)},
            **self.sets,
        }

    def _comes_through(self, name: str, python: bool) -> bool:  # noqa: FBT001 - ours alone
        plain = self.passes_all or name in _PLAIN or name.startswith("LC_")
        return plain or name in self.passes or (python and name.startswith(_PYTHON))


NOTHING_SAID: Final = Confinement()
WIDEST: Final = Confinement(processes=PROCESSES_DEFAULT, files=FILES_DEFAULT)


def read_env(env: Env) -> tuple[frozenset[str], bool, Mapping[str, str]]:
    """Read `env` as a task takes it: which names pass, whether all do, and what is set.

    >>> read_env(("DATABASE_URL",))[0]
    frozenset({'DATABASE_URL'})
    """
    match env:
        case "all":
            return frozenset(), True, _NO_ENV
        case Mapping() if all(_is_name(n) and _is_value(v) for n, v in env.items()):
            return frozenset(), False, MappingProxyType(dict(env))
        case tuple() | list() if all(map(_is_name, env)):
            return frozenset(env), False, _NO_ENV
    raise InvalidInputError(
        'env: expected names to let through such as ("DATABASE_URL",), a mapping of names to '
        f'texts, or "all", got {env!r:.80}'
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "=" not in name and "\x00" not in name


def _is_value(value: object) -> bool:
    return isinstance(value, str) and "\x00" not in value
