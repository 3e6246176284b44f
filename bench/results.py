"""Where measurements are kept: one line of JSON a run."""

import json
import platform
from pathlib import Path
from typing import Any

import apsw

from outlast.core.instant import to_rfc3339
from outlast.system import CLOCK

RESULTS = Path("bench/results/results.jsonl")


def append(results: Path, scale: float, **measured: Any) -> None:
    """Add a run to the results, with when and where it was."""
    results.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "at": to_rfc3339(CLOCK.now_us()),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "scale": scale,
        **measured,
    }
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
