"""Reading filters, pages and fields; what is wrong is told by name."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from outlast.api.guard import Caller
from outlast.api.veil import Veil
from outlast.core.errors import InvalidInputError
from outlast.core.instant import from_rfc3339
from outlast.core.job import Filter, Page
from outlast.core.limits import NAME_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX, WAIT_SECONDS_MAX
from outlast.core.status import Status

_DIGITS_MAX: Final = 15  # every such number is exact in JSON
FILTERS: Final = ("status", "queue", "task", "tag", "q", "submitted_after", "submitted_before")


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with a request, so that all of it is told at once."""

    found: list[dict[str, str]] = field(default_factory=list)

    def say(self, path: str, message: str) -> None:
        """Note one thing that is wrong."""
        self.found.append({"path": path, "message": message})

    def unknown(self, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """Note every field that is not known here."""
        for name in given:
            if name not in known:
                self.say(f"{name:.80}", f"no such field; known: {', '.join(sorted(known))}")

    def whole(self, given: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
        """Read a whole number, null or nothing."""
        value = given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.say(name, f"expected a whole number from {low} to {high}, got {value!r:.60}")
            return None
        return value

    def text(self, given: Mapping[str, Any], name: str) -> str | None:
        """Read a text, null or nothing."""
        value = given.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS_MAX:
            self.say(name, f"expected 1–{NAME_CHARS_MAX} characters, got {value!r:.60}")
            return None
        return value

    def instant(self, given: Mapping[str, Any], name: str) -> int | None:
        """Read an RFC 3339 time, null or nothing."""
        value = given.get(name)
        if value is None:
            return None
        try:
            return from_rfc3339(value, field=name)
        except (InvalidInputError, OverflowError):
            self.say(
                name,
                'expected an RFC 3339 time with an offset, such as "2026-11-23T10:00:00Z", '
                f"got {value!r:.60}",
            )
            return None

    def check(self) -> None:
        """Raise InvalidInputError if anything was wrong."""
        if self.found:
            text = "; ".join(f"{e['path']}: {e['message']}" for e in self.found[:5])
            raise InvalidInputError(f"invalid request: {text}", errors=self.found)


def filter_of(
    given: Mapping[str, Any], who: Caller, problems: Problems, *, status: Status | None = None
) -> Filter:
    """Read a filter from a query or a body; `status` fixes the status."""
    chosen = given.get("status")
    if chosen is not None and chosen not in tuple(Status):
        problems.say("status", f"expected one of {', '.join(Status)}; got {chosen!r:.60}")
        chosen = None
    return Filter(
        tenant=who.tenant,
        status=status or (Status(chosen) if chosen else None),
        submitted_after=problems.instant(given, "submitted_after"),
        submitted_before=problems.instant(given, "submitted_before"),
        queue=problems.text(given, "queue"),
        task=problems.text(given, "task"),
        tag=problems.text(given, "tag"),
        text=problems.text(given, "q"),
    )


def page_of(request: Request, problems: Problems, veil: Veil) -> Page:
    """Read `limit`, `cursor` and `sort`."""
    query = request.query_params
    limit = number_of(query.get("limit"), "limit", problems)
    sort = query.get("sort", "-submitted_at")
    if sort not in {"submitted_at", "-submitted_at"}:
        problems.say("sort", f"expected submitted_at or -submitted_at, got {sort!r:.60}")
    cursor, after = query.get("cursor"), None
    if cursor is not None:
        after = _read_cursor(cursor)
        if after is None:
            problems.say("cursor", f"expected the `next` of an earlier answer, got {cursor!r:.60}")
        else:
            after = veil.shown(after)
    size = PAGE_DEFAULT if limit is None else max(1, min(limit, PAGE_MAX))
    return Page(limit=size, after=after, oldest_first=sort == "submitted_at")


def number_of(text: str | None, name: str, problems: Problems) -> int | None:
    """Read a number from a query, if it is there."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        problems.say(name, f"expected a whole number, got {text!r:.60}")
        return None
    return int(text)


def cursor_of(number: int, veil: Veil) -> str:
    """Write where a list was left, opaque to those who carry it.

    >>> _read_cursor(cursor_of(17, Veil()))
    17
    """
    return urlsafe_b64encode(f"n{veil.hide(number)}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> int | None:
    try:
        plain = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        return None
    digits = plain[1:]
    valid = plain.startswith("n") and digits.isdigit() and len(digits) <= _DIGITS_MAX
    return int(digits) if valid else None


def wait_seconds(request: Request) -> int:
    """Read `Prefer: wait=N` (RFC 7240), at most a minute."""
    given = request.headers.get("prefer")
    if given is None:
        return 0
    for part in given.replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
            return min(int(value), WAIT_SECONDS_MAX) if len(value) <= _DIGITS_MAX else 0
    return 0
