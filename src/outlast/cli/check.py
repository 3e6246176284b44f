"""What the doctor says of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; the hint says what to do when it is not well."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None
