"""Files and large payloads as the ledger knows them: where the bytes lie, how many, their hash."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote

# No JSON text starts with it, so a value can't be taken for a reference, nor a reference for one.
_MARK: Final = "blob:"


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file: its key, its size in bytes and the SHA-256 of its content."""

    key: str
    size: int
    sha256: str


def reference(stored: Stored) -> str:
    """Write what stands in a row in place of a text that has moved to the blobs."""
    return _MARK + json.dumps(asdict(stored))


def moved(text: str | None) -> Stored | None:
    """Return where a row's text has moved to; None when it stands in the row itself.

    >>> moved(reference(Stored("k", 5, "ab"))), moved('{"key": "k"}')
    (Stored(key='k', size=5, sha256='ab'), None)
    """
    if text is None or not text.startswith(_MARK):
        return None
    return Stored(**json.loads(text.removeprefix(_MARK)))


def stored_of(entry: dict[str, Any]) -> Stored:
    """Return where the bytes of an artifact's (or a large step's) entry lie."""
    return Stored(entry["blob"], entry["size"], entry["sha256"])


def disposition(name: str) -> str:
    """Write the header that makes a browser save a file under the last part of its name.

    >>> disposition("../a b.pdf")
    "attachment; filename*=utf-8''a%20b.pdf"
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return f"attachment; filename*=utf-8''{quote(last or 'artifact', safe='')}"
