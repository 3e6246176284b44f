"""Loads the SQL: one statement a file, or named fragments of one statement in one file."""

from functools import cache
from importlib.resources import files
from typing import Final

_ROOM: Final = files("outlast.ledger.sqlite")


@cache
def sql(name: str) -> str:
    """Return the statement in `sql/<name>.sql`, without its header comment."""
    text = (_ROOM / "sql" / f"{name}.sql").read_text("utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


@cache
def fragments(name: str) -> dict[str, str]:
    """Return the parts of `sql/<name>.sql` by the names in their `-- name:` lines."""
    text = (_ROOM / "sql" / f"{name}.sql").read_text("utf-8")
    parts = text.split("-- name: ")[1:]
    return {part.partition("\n")[0].strip(): part.partition("\n")[2].strip() for part in parts}


def migrations() -> list[tuple[int, str]]:
    """Return the numbered migrations, in order."""
    found = sorted((_ROOM / "migrations").iterdir(), key=lambda file: file.name)
    return [(int(file.name[:4]), file.read_text("utf-8")) for file in found]
