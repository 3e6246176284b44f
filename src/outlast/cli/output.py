"""What commands print: tables for people, plain columns for pipes, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_COLOURS: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "processing": "cyan",
    "ok": "green",
    "wrong": "red",
}


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, default=str), flush=True)


def clean(value: object) -> str:
    """Write a value on one line that can't steer the terminal, whatever a job put into it."""
    if value is None:
        return "–"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def shortened(value: object, limit: int) -> str:
    """Write a value on one line of bounded length."""
    text = clean(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows in aligned columns, or a sentence when there are none.

    On a terminal they have colours and are cut at its edge, so the last column should matter least.
    """
    texts = [[clean(value) for value in row] for row in rows]
    if not texts:
        print(empty)
    elif sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(drawn(heads, texts, empty=empty))
    else:
        for line in _aligned(heads, texts):
            print("  ".join(line).rstrip())


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one a line; leaves out what is not known."""
    known = {name: clean(value) for name, value in facts.items() if value not in (None, "", [])}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        print(f"{name.ljust(width)}  {value}")


def _aligned(heads: Sequence[str], texts: list[list[str]]) -> list[list[str]]:
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    return [
        [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        for line in [heads, *texts]
    ]


def drawn(heads: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> Any:
    """Return a table for a terminal; a job's words are never read as markup."""
    from rich.console import Group
    from rich.text import Text

    texts = [[clean(value) for value in row] for row in rows]
    head, *lines = _aligned(heads, texts)
    cut: Any = {"no_wrap": True, "overflow": "ellipsis"}
    cells = ([Text(c, style=_COLOURS.get(c.rstrip(), "")) for c in line] for line in lines)
    return Group(
        Text("  ".join(head), style="bold", **cut),
        *(Text("  ", **cut).join(line) for line in cells),
        *([] if lines or not empty else [Text(empty)]),
    )
