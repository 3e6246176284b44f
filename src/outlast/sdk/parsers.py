"""What a program's lines say of its progress."""

import re
from collections.abc import Callable
from typing import Any, Final

from outlast.core.errors import InvalidInputError

# How much is done of how much; a part of one; True: of the progress, but nothing to tell; None: no
# word of it.
Progress = tuple[float, float | None] | float | bool | None
Parse = Callable[[str], Progress]
Parser = Parse | type[Any]

_CLOCK: Final = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"
_DURATION: Final = re.compile(rf"Duration: {_CLOCK}")
_TIME: Final = re.compile(rf"\btime=\s*{_CLOCK}")
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)\s?%")
_KEY: Final = re.compile(
    r"(?:frame|fps|bitrate|total_size|out_time|out_time_us|out_time_ms|dup_frames|drop_frames|speed"
    r"|progress|stream_\d+_\d+_q)=\s*(\S*)$"
)


class Ffmpeg:
    """Reads what ffmpeg says on stderr, or on stdout with `-progress -`, in seconds of the result.

    >>> parse = Ffmpeg()
    >>> parse("  Duration: 00:01:40.00, start: 0.0, bitrate: 512 kb/s")
    >>> parse("frame= 250 fps=25 q=28.0 size= 1kB time=00:00:10.00 bitrate=1kbits/s speed=1x")
    (10.0, 100.0)
    >>> parse("out_time_us=50000000")
    (50.0, 100.0)
    """

    def __init__(self) -> None:
        self._total: float | None = None  # of the longest input

    def __call__(self, line: str) -> Progress:
        if match := _DURATION.search(line):
            self._total = max(self._total or 0.0, _seconds(*match.groups()))
            return None  # which is worth a line of the log too
        if match := _TIME.search(line):
            return self._told(_seconds(*match.groups()))
        if match := _KEY.fullmatch(line.strip()):
            if line.startswith("out_time_us=") and match[1].isdigit():
                return self._told(int(match[1]) / 1_000_000)
            return True
        return None

    def _told(self, done: float) -> Progress:
        return done, None if self._total is None else max(self._total, done)


def percent(line: str) -> Progress:
    """Read the last percentage of a line, as rsync, wget and many others print it.

    >>> percent("  1,234,567  42%  1.2MB/s  0:00:12")
    0.42
    """
    found = _PERCENT.findall(line)
    return min(float(found[-1]) / 100, 1.0) if found else None


_KNOWN: Final[dict[str, Parser]] = {"ffmpeg": Ffmpeg, "percent": percent}


def new_parser(progress: Parser | str | None) -> Parse | None:
    """Return a parser for one attempt; a class is one that remembers, so each gets its own."""
    chosen = _KNOWN.get(progress) if isinstance(progress, str) else progress
    if progress is not None and not callable(chosen):
        raise InvalidInputError(
            f"progress: expected a function of a line, a class of such, or one of "
            f"{', '.join(_KNOWN)}, got {progress!r:.80}"
        )
    if isinstance(chosen, type):
        made: Parse = chosen()
        return made
    return chosen


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
