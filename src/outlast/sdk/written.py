"""Values of user code as JSON: written strictly, so that what is read back is what was there."""

import json
from collections import deque
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, from_json

from outlast.core.errors import InvalidInputError

_HINT: Final = "give what JSON has; for NaN and infinity that is None, or a text"


def written(adapter: TypeAdapter[Any], value: object, what: str) -> str:
    """Write a value as JSON; raise InvalidInputError naming `what` when JSON has no such value.

    >>> written(TypeAdapter(list[int]), [1, 2], "result")
    '[1,2]'
    """
    try:
        text = adapter.dump_json(value).decode()
        if "null" in text and _lost(adapter.dump_python(value, warnings=False), text):
            raise _refusal(what, "JSON has no NaN and no infinity")
    except (PydanticSerializationError, UnicodeError) as error:
        raise _refusal(what, str(error)) from error
    return finite(text, what)


def finite(text: str, what: str) -> str:
    """Return a JSON text; raise InvalidInputError when it has a NaN or an infinity."""
    if "NaN" in text or "Infinity" in text:

        def refuse(name: str) -> None:
            raise _refusal(what, f"JSON has no {name}")

        json.loads(text, parse_constant=refuse)
    return text


def _lost(value: object, text: str) -> bool:
    """Whether pydantic wrote null for a float that JSON has not: it does unless told otherwise."""
    missing, nulls = _count(value)
    return bool(missing) and _count(from_json(text))[1] > nulls


def _count(value: object) -> tuple[int, int]:
    """Count the floats that JSON has not, and the nulls."""
    missing = nulls = 0
    left: list[object] = [value]
    while left:
        one = left.pop()
        if one is None:
            nulls += 1
        elif isinstance(one, float):
            missing += not isfinite(one)
        elif isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple | set | frozenset | deque):
            left += one
    return missing, nulls


def _refusal(what: str, why: str) -> InvalidInputError:
    errors = [{"path": what, "message": why}]
    return InvalidInputError(f"{what} can't be written as JSON: {why}", hint=_HINT, errors=errors)
