"""What commands print: tables for people, JSON for programs, one sentence for an error."""

import json
import sys
from typing import Any

from outlast.core.errors import OutlastError


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, default=str), flush=True)


def show_table(heads: list[str], rows: list[list[Any]], *, empty: str) -> None:
    """Print aligned columns, or a sentence when there are no rows."""
    if not rows:
        print(empty)
        return
    texts = [[str("–" if value is None else value) for value in row] for row in rows]
    widths = [max(len(row[n]) for row in [heads, *texts]) for n in range(len(heads))]
    for row in [heads, *texts]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


def show_error(error: OutlastError, *, as_json: bool) -> None:
    """Print an error where errors belong."""
    if as_json:
        facts = {"error": error.code, "detail": str(error), **error.facts}
        print(json.dumps(facts, default=str), file=sys.stderr)
    else:
        print(f"outlast: {error}", file=sys.stderr)
