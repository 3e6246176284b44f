"""Job IDs: UUID version 7 (RFC 9562), so that IDs sort by the time they were made."""

from typing import Final

_HEX: Final = frozenset("0123456789abcdef")
_DASHES: Final = (8, 13, 18, 23)


def uuid7(now_us: int, dice: int) -> str:
    """Make a UUIDv7 from an instant and 74 random bits.

    The twelve bits after the milliseconds hold the sub-millisecond part (RFC 9562, section 6.2,
    method 3), so IDs made by one process sort by microsecond.

    >>> uuid7(1_700_000_000_000_000, 0)
    '018bcfe5-6800-7000-8000-000000000000'
    """
    millis, micros = divmod(now_us, 1_000)
    value = (
        (millis & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (micros * 4096 // 1000) << 64
        | 0x2 << 62
        | (dice & 0x3FFF_FFFF_FFFF_FFFF)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its canonical lower-case form.

    >>> is_uuid("018bcfe5-6800-7000-8000-000000000000"), is_uuid("../../etc/passwd")
    (True, False)
    """
    return (
        len(text) == 36  # noqa: PLR2004 - the canonical form's length
        and all(text[i] == "-" for i in _DASHES)
        and all(c in _HEX for i, c in enumerate(text) if i not in _DASHES)
    )


def uuid7_floor(now_us: int) -> str:
    """Return the smallest UUIDv7 that `uuid7` makes at this instant or later."""
    return uuid7(now_us, 0)
