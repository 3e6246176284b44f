"""The steps of a schema: some add to it, some take away what only an older release used.

What adds is done at once, while processes of the release before work on. What takes away waits
until somebody says that none of them is left: `outlast migrate --finish`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from outlast.core.errors import UnavailableError


class Step(NamedTuple):
    """One migration."""

    number: int
    script: str
    removes: bool = False


def newest(steps: Sequence[Step]) -> int:
    """Return the version after all steps."""
    return max(step.number for step in steps)


def needed(steps: Sequence[Step]) -> int:
    """Return the version without which this release can't work: steps that remove can wait.

    >>> needed([Step(1, ""), Step(2, ""), Step(3, "", removes=True)])
    2
    """
    return max(step.number for step in steps if not step.removes)


def following(
    steps: Sequence[Step], version: int, place: str, *, finish: bool = False
) -> Step | None:
    """Return the step to do next, or None; `finish` allows one that removes.

    Raises UnavailableError when a step that this release needs comes after one that waits.

    >>> following([Step(1, ""), Step(2, "", removes=True)], 1, "here") is None
    True
    """
    step = next((step for step in steps if step.number > version), None)
    if step is None or finish or not step.removes:
        return step
    if version >= needed(steps):
        return None
    raise UnavailableError(
        f"the ledger {place} was never rid of what only an older release used (schema {version})",
        hint="stop every process of that release, then run: outlast migrate --finish",
    )


def refuse_unfit(steps: Sequence[Step], version: int, place: str) -> None:
    """Raise UnavailableError when this release can't work with a schema of this version."""
    if version < needed(steps):
        raise UnavailableError(
            f"the ledger {place} is not migrated (schema {version})", hint="run: outlast migrate"
        )
    if version > newest(steps):
        raise UnavailableError(
            f"the ledger {place} has schema {version}, made by a newer Outlast: "
            f"expected at most {newest(steps)}",
            hint="upgrade this installation",
        )
