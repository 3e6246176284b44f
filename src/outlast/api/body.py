"""Reading the bodies that strangers send: bounded in every dimension, or refused."""

import re
from math import isinf
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import Request

from outlast.core.errors import MalformedInputError, TooLargeError
from outlast.core.limits import BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_DIGITS_MAX

_DIGITS: Final = re.compile(rb"\d{%d}" % (JSON_DIGITS_MAX + 1))
# Possessive, and an unclosed string runs to the end: no input makes this slower than linear.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NUL: Final = b"\\u0000"


class MediaTypeError(MalformedInputError):
    """The body is not of the media type or the encoding that this call takes."""

    code = "unsupported-media-type"
    http_status = 415


async def read_body(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON object; raise MediaTypeError, TooLargeError or MalformedInputError.

    An `optional` body that is empty counts as an empty object.
    """
    headers = request.headers
    kind = headers.get("content-type", "")
    if kind != "application/json" and not (optional and not kind):
        _check_kind(kind)
    check_encoding(request)
    length = headers.get("content-length", "0")
    if length.isdigit() and (len(length) > len("1000000000") or int(length) > BODY_BYTES_MAX):
        raise _too_large()
    raw, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise MalformedInputError("body: the connection closed in the middle of it")
        raw += message.get("body", b"")
        more = message.get("more_body", False)
        if len(raw) > BODY_BYTES_MAX:
            raise _too_large()
    value: dict[str, Any] = {} if optional and not raw else parse(raw)
    if not isinstance(value, dict):
        raise MalformedInputError(f"body: expected an object, got {type(value).__name__}")
    return value


def check_encoding(request: Request) -> None:
    """Refuse a body that would have to be unpacked."""
    encoding = request.headers.get("content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise MediaTypeError(
            f"content-encoding: expected none, got {encoding!r:.80}", hint="send the body as it is"
        )


def _check_kind(given: str) -> None:
    kind, _, rest = given.partition(";")
    charset = rest.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise MediaTypeError(f"content-type: expected application/json in UTF-8, got {given!r:.80}")


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"body: expected at most {BODY_BYTES_MAX} bytes",
        hint='send large arguments with POST /v1/blobs, and {"$blob": ID} in their place',
        limit_bytes=BODY_BYTES_MAX,
    )


def parse(raw: bytes, *, field: str = "body") -> Any:
    """Parse JSON from anybody, or raise MalformedInputError that says what is wrong with it.

    >>> parse(b'{"a": [1]}')
    {'a': [1]}
    """
    try:
        return _parsed(raw)
    except MalformedInputError as error:
        raise MalformedInputError(f"{field}: {error.message}") from error.__cause__


def _parsed(raw: bytes) -> Any:
    if len(raw) > JSON_DIGITS_MAX and _DIGITS.search(raw) and _DIGITS.search(_bare(raw)):
        raise MalformedInputError(f"expected numbers of at most {JSON_DIGITS_MAX} digits")
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedInputError(f"expected JSON: {error}") from error
    members = _survey(value, nul=_NUL in raw)
    # Each member has one colon, so a member that the parser dropped shows as a colon too many.
    if raw.count(b":") != members and _bare(raw).count(b":") != members:
        raise MalformedInputError("expected each name once in an object, got one twice")
    return value


def _bare(raw: bytes) -> bytes:
    """Return the text without its strings: structure, numbers and literals."""
    return _STRINGS.sub(b"", raw)


def _survey(value: object, *, nul: bool) -> int:
    """Walk a value level by level, refuse what can't be stored, and count its members."""
    members = depth = 0
    level: list[object] = [value]
    while level:
        depth += 1
        if depth > JSON_DEPTH_MAX + 1:
            raise MalformedInputError(f"expected at most {JSON_DEPTH_MAX} levels of nesting")
        below: list[object] = []
        for node in level:
            if isinstance(node, dict):
                members += len(node)
                below.extend(node.values())
                if nul:
                    below.extend(node)
            elif isinstance(node, list):
                below.extend(node)
            elif isinstance(node, float):
                if isinf(node):
                    raise MalformedInputError("expected numbers that fit a double")
            elif nul and isinstance(node, str) and "\x00" in node:
                raise MalformedInputError("expected text without NUL characters")
        level = below
    return members
