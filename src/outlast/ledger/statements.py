"""Loads the SQL of a store: one statement a file, or named fragments of one statement in a file."""

from functools import cache
from importlib.resources import files

from outlast.ledger.steps import Step


class Statements:
    """The `.sql` files of a package, each read once."""

    def __init__(self, package: str) -> None:
        self._room = files(package)
        self.sql = cache(self._sql)
        self.fragments = cache(self._fragments)

    def _text(self, name: str) -> str:
        return (self._room / "sql" / f"{name}.sql").read_text("utf-8")

    def _sql(self, name: str) -> str:
        """Return the statement in `sql/<name>.sql`, without its header comment."""
        lines = self._text(name).splitlines()
        return "\n".join(line for line in lines if not line.startswith("--"))

    def _fragments(self, name: str) -> dict[str, str]:
        """Return the parts of `sql/<name>.sql` by the names in their `-- name:` lines."""
        parts = self._text(name).split("-- name: ")[1:]
        return {part.partition("\n")[0].strip(): part.partition("\n")[2].strip() for part in parts}

    def migrations(self) -> list[Step]:
        """Return the numbered migrations, in order; `0007_….after.sql` takes something away."""
        found = sorted((self._room / "migrations").iterdir(), key=lambda file: file.name)
        return [
            Step(int(file.name[:4]), file.read_text("utf-8"), file.name.endswith(".after.sql"))
            for file in found
        ]
