"""Idempotency keys in the form that people agree on: who, what, and in which window of time."""

from datetime import timedelta

from outlast.core.errors import InvalidInputError
from outlast.core.instant import duration_us, to_rfc3339
from outlast.core.limits import KEY_CHARS_MAX
from outlast.core.ports import Clock
from outlast.system import CLOCK


def key_for(
    user: object,
    action: str,
    *,
    window: str | float | timedelta | None = None,
    clock: Clock = CLOCK,
) -> str:
    """Return the same key for the same user and action, and, with `window`, in the same window.

    Windows follow each other from 1970 on; a click just before the end of one and another just
    after it are two intentions. Raises InvalidInputError for a key that would be too long.

    >>> key_for(1, "generate-report")
    '1:generate-report'
    """
    parts = [str(user), action]
    if window is not None:
        size = duration_us(window, field="window")
        if not size:
            raise InvalidInputError(f"window: expected more than nothing, got {window!r}")
        parts.append(to_rfc3339(clock.now_us() // size * size)[:19])
    for part in parts[:2]:
        if not part or not part.isprintable():
            raise InvalidInputError(f"key: expected printable parts, got {part!r:.80}")
    # Colons of the parts are doubled, so that two different pairs never give one key.
    key = ":".join([part.replace(":", "::") for part in parts[:2]] + parts[2:])
    if len(key) > KEY_CHARS_MAX:
        raise InvalidInputError(
            f"key: expected at most {KEY_CHARS_MAX} characters, got {len(key)}",
            hint="use an ID instead of the data itself",
        )
    return key
