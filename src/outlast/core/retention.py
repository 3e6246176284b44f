"""How long ended jobs are kept: by how they ended, and by their queue and task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us
from outlast.core.limits import DAY

FOREVER: Final = "forever"
_DEFAULT_US: Final = 30 * DAY
# A failed job that nobody has settled is a dead letter: it stays until somebody does.
DEFAULTS: Final[Mapping[str, int | None]] = {
    "completed": _DEFAULT_US,
    "cancelled": _DEFAULT_US,
    "discarded": _DEFAULT_US,
    "failed": None,
}
_Rules = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long each kind of ended job is kept, in microseconds; None is for ever.

    What is said of a task beats what is said of its queue, which beats the rest.
    """

    general: _Rules = field(default_factory=lambda: DEFAULTS)
    queues: Mapping[str, _Rules] = field(default_factory=dict)
    tasks: Mapping[str, _Rules] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Retention":
        """Read the block of the settings; raise InvalidInputError that lists all that is wrong.

        >>> kept = Retention.read({"completed": "7d", "tasks": {"ping": {"completed": "1h"}}})
        >>> kept.keep_us("completed", "any", "ping") // 3_600_000_000
        1
        """
        wrong: list[dict[str, str]] = []
        if not isinstance(given, Mapping):
            raise _invalid([{"path": "", "message": f"expected a mapping, got {given!r:.60}"}])
        rest = {name: value for name, value in given.items() if name not in {"queues", "tasks"}}
        general = {**DEFAULTS, **_rules(rest, "", wrong)}
        parts: dict[str, dict[str, _Rules]] = {"queues": {}, "tasks": {}}
        for part, read in parts.items():
            block = given.get(part) or {}
            if not isinstance(block, Mapping):
                wrong.append({"path": part, "message": f"expected a mapping, got {block!r:.60}"})
                continue
            for name, rules in block.items():
                read[str(name)] = _rules(rules, f"{part}.{name}.", wrong)
        if wrong:
            raise _invalid(wrong)
        return cls(general, parts["queues"], parts["tasks"])

    def keep_us(self, kind: str, queue: str, task: str) -> int | None:
        """Return for how long such a job is kept."""
        for rules in (self.tasks.get(task, {}), self.queues.get(queue, {}), self.general):
            if kind in rules:
                return rules[kind]
        return None

    def horizons(self) -> list[tuple[str, int]]:
        """Return each kind with each of the times after which some of it is to go."""
        every = (self.general, *self.queues.values(), *self.tasks.values())
        found = {(kind, us) for rules in every for kind, us in rules.items() if us is not None}
        return sorted(found)


def _rules(given: Any, above: str, wrong: list[dict[str, str]]) -> dict[str, int | None]:
    if not isinstance(given, Mapping):
        message = f"expected a mapping of {', '.join(DEFAULTS)}, got {given!r:.60}"
        wrong.append({"path": above.rstrip("."), "message": message})
        return {}
    read: dict[str, int | None] = {}
    for kind, value in given.items():
        path = f"{above}{kind}"
        if kind not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            wrong.append({"path": path, "message": f"no such kind of job (known: {known})"})
        elif value == FOREVER:
            read[kind] = None
        else:
            try:
                read[kind] = duration_us(value, field=path)
            except InvalidInputError as error:
                wrong.append({"path": path, "message": f"{error.message}, or {FOREVER}"})
    return read


def _invalid(wrong: list[dict[str, str]]) -> InvalidInputError:
    told = "; ".join(
        entry["message"]
        if entry["path"] in entry["message"]
        else f"{entry['path']}: {entry['message']}"
        for entry in wrong
    )
    return InvalidInputError(told, errors=wrong)
