"""Who is measured: one entry a row of the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Store = Literal["sqlite", "postgresql", "redis"]
HERE = Path(__file__).parent
OURS = "outlast"  # runs in the environment of the checkout


@dataclass(frozen=True)
class Entry:
    """A queue on a store: the adapter that drives it says the rest."""

    adapter: str
    store: Store

    @property
    def name(self) -> str:
        return f"{self.adapter}-{self.store}"

    @property
    def requirements(self) -> Path | None:
        """The pinned packages of its environment; None for ours."""
        return None if self.adapter == OURS else HERE / "requirements" / f"{self.adapter}.txt"


ROSTER = (
    Entry("outlast", "sqlite"),
    Entry("outlast", "postgresql"),
    Entry("celery", "redis"),
    Entry("dramatiq", "redis"),
    Entry("rq", "redis"),
    Entry("huey", "sqlite"),
    Entry("saq", "redis"),
    Entry("taskiq", "redis"),
    Entry("arq", "redis"),
    Entry("docket", "redis"),
    Entry("procrastinate", "postgresql"),
    Entry("pgqueuer", "postgresql"),
    Entry("dbos", "postgresql"),
)


def chosen(words: list[str]) -> list[Entry]:
    """Return the entries that are meant by names of adapters, stores or rows; all for none."""
    found = [e for e in ROSTER if not words or {e.adapter, e.store, e.name} & set(words)]
    known = {word for e in ROSTER for word in (e.adapter, e.store, e.name)}
    if unknown := sorted(set(words) - known):
        raise ValueError(f"no such peer: {', '.join(unknown)} (known: {', '.join(sorted(known))})")
    return found
