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
    """Print rows: drawn on a terminal, aligned in a pipe; a sentence when there are none."""
    texts = [[clean(value) for value in row] for row in rows]
    if not texts:
        print(empty)
    elif sys.stdout.isatty():
        _draw(heads, texts)
    else:
        _align([list(heads), *texts])


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one a line; leaves out what is not known."""
    known = {name: clean(value) for name, value in facts.items() if value not in (None, "", [])}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        print(f"{name.ljust(width)}  {value}")


def _align(lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _draw(heads: Sequence[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        # An ID is there to be copied, so it is never cut.
        table.add_column(head, no_wrap=head == "id", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)
