"""The SQL of the ledger in PostgreSQL, with named values as the driver numbers them."""

import re
from functools import lru_cache
from typing import Final

from outlast.ledger.statements import Statements

_STATEMENTS: Final = Statements("outlast.ledger.postgres")
_VALUE: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
sql = _STATEMENTS.sql
fragments = _STATEMENTS.fragments
migrations = _STATEMENTS.migrations


@lru_cache(maxsize=1_024)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with `$1`, `$2` … for its values, and their names in that order.

    >>> numbered("number > :after AND id = ANY (:ids::text[]) LIMIT :after")
    ('number > $1 AND id = ANY ($2::text[]) LIMIT $1', ('after', 'ids'))
    """
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    text = _VALUE.sub(number, statement)
    return text, tuple(names)


@lru_cache(maxsize=1_024)
def named(statement: str) -> str:
    """Return a statement with its values as most drivers name them.

    >>> named("number % 2 = :rest::bigint")
    'number %% 2 = %(rest)s::bigint'
    """
    return _VALUE.sub(r"%(\1)s", statement.replace("%", "%%"))
