"""Errors of user code as data: what happened, whether to try again, and which ones are the same."""

import re
import traceback
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from outlast.core.errors import CommandError, CrashedError
from outlast.core.limits import ERROR_MESSAGE_CHARS_MAX, TRACEBACK_CHARS_MAX

_HELD_TOLD: Final = 5
_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+")


def describe(
    error: BaseException, *, attempt: int, at: str, retryable: bool, hint: str | None = None
) -> dict[str, object]:
    """Describe an exception for the ledger: type, message, traceback and a fingerprint.

    What became of a process is told in facts too, which are JSON. Never raises, whatever the
    exception's own code does.
    """
    name = type(error).__name__
    message = text_of(error)
    trace = _said(lambda: "".join(traceback.format_exception(error)))
    facts = error.facts if isinstance(error, CrashedError | CommandError) else {}
    return {
        "type": name,
        "class": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": message,
        "attempt": attempt,
        "at": at,
        "retryable": retryable,
        "fingerprint": fingerprint(name, message),
        "traceback": _clean(trace[-TRACEBACK_CHARS_MAX:], TRACEBACK_CHARS_MAX),
        **({"facts": dict(facts)} if facts else {}),
        **({"hint": hint} if hint else {}),
    }


def text_of(error: BaseException) -> str:
    """Return an exception's message, cut to its bound; a group's with what it holds.

    >>> text_of(ValueError("row 17"))
    'row 17'
    >>> text_of(ExceptionGroup("two", [ValueError("row 17"), KeyError("id")]))
    "two (2 sub-exceptions): ValueError: row 17; KeyError: 'id'"
    """
    text = _said(lambda: str(error))
    if isinstance(error, BaseExceptionGroup):
        held = leaves(error)
        told = [f"{type(one).__name__}: {text_of(one)}" for one in held[:_HELD_TOLD]]
        more = [f"and {len(held) - _HELD_TOLD} more"] if len(held) > _HELD_TOLD else []
        text = f"{text}: {'; '.join(told + more)}"
    return _clean(text, ERROR_MESSAGE_CHARS_MAX)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors that a group holds, also in groups inside it, in their order.

    >>> leaves(ExceptionGroup("", [KeyError(1), ExceptionGroup("", [OSError(2)])]))
    [KeyError(1), OSError(2)]
    """
    found: list[BaseException] = []
    left: list[BaseException] = [group]
    while left:
        one = left.pop()
        if isinstance(one, BaseExceptionGroup):
            left += reversed(one.exceptions)
        else:
            found.append(one)
    return found


def fingerprint(name: str, message: str) -> str:
    """Give errors that differ only in numbers and IDs the same name.

    >>> fingerprint("ValueError", "row 17") == fingerprint("ValueError", "row 4")
    True
    """
    return sha256(f"{name}:{_VARYING.sub('#', message)}".encode()).hexdigest()[:12]


def _said(say: Callable[[], str]) -> str:
    try:
        return say()
    except BaseException as fault:  # noqa: BLE001 - the exception's own code can raise anything
        return f"it can't be told: its own text raised {type(fault).__name__}"


def _clean(text: str, limit: int) -> str:
    """Make any text storable: no NUL, no lone surrogate, not longer than its limit."""
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"
