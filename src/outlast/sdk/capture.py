"""What a task says by `logging` and `print` becomes the log of its job."""

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Final, TextIO, cast

from outlast.core.effects import Effects
from outlast.sdk.context import Job


class Voice:
    """The log of the job that runs here; the job's own face is made when it is first needed."""

    __slots__ = ("_effects", "_parts", "job")

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._parts: dict[str, str] = {}
        self.job: Job | None = None

    def of_job(self) -> Job:
        """Return the job, which counts the lines whoever says them."""
        if self.job is None:
            self.job = Job(self._effects)
        return self.job

    def write(self, stream: str, text: str) -> None:
        """Take printed text; what ends in no line break yet waits for the rest of its line."""
        *lines, rest = (self._parts.pop(stream, "") + text).split("\n")
        for line in lines:
            if line:
                self.of_job().log(_COLOUR.sub("", line), stream=stream)
        if rest:
            self._parts[stream] = rest[-_LINE_MAX:]

    def end(self) -> None:
        """Keep the lines that were begun."""
        for stream in list(self._parts):
            self.write(stream, "\n")


_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE_MAX: Final = 64 * 1024
speaking: Final[ContextVar[Voice | None]] = ContextVar("outlast_voice", default=None)


class JobLogHandler(logging.Handler):
    """Hands log records to the job in whose task or thread they were made."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record with its level and its logger's name."""
        voice = speaking.get()
        if voice is None:
            return
        try:
            voice.of_job().log(self.format(record), level=record.levelname, logger=record.name)
        except Exception:  # noqa: BLE001 - logging must not fail the job; logging says so itself
            self.handleError(record)


class _Printed:
    """Passes text on, and hands what a job printed to that job."""

    def __init__(self, name: str, onward: TextIO) -> None:
        self._name = name
        self._onward = onward

    def write(self, text: str) -> int:
        voice = speaking.get()
        if voice is None:
            return self._onward.write(text)
        voice.write(self._name, text)
        # The job's log has it: that the terminal's disk is full, say, is no fault of the job's.
        with suppress(OSError):
            self._onward.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError) if speaking.get() is not None else nullcontext():
            self._onward.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._onward, name)  # fileno, encoding, buffer, isatty


@contextmanager
def captured() -> Iterator[None]:
    """Listen for as long as the block lasts; for tests, which share a process with others."""
    root = logging.getLogger()
    before, level, streams = root.handlers[:], root.level, (sys.stdout, sys.stderr)
    capture()
    added = [handler for handler in root.handlers if handler not in before]
    root.setLevel(min(root.level, logging.INFO))
    try:
        yield
    finally:
        for handler in added:
            root.removeHandler(handler)
        root.setLevel(level)
        sys.stdout, sys.stderr = streams


def capture() -> None:
    """Begin to listen, once for a process; what is said outside of any job goes on as before.

    structlog is heard as well: it prints, or logs, as it is configured to.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, JobLogHandler) for handler in root.handlers):
        if not root.handlers:
            # Nobody chose: warnings go to the terminal as they did, details to the job's log.
            terminal = logging.StreamHandler(sys.stderr)
            terminal.setLevel(logging.WARNING)
            root.addHandler(terminal)
            root.setLevel(min(root.level, logging.INFO))
        root.addHandler(JobLogHandler())
    if not isinstance(sys.stdout, _Printed):
        sys.stdout = cast("TextIO", _Printed("stdout", sys.stdout))
    if not isinstance(sys.stderr, _Printed):
        sys.stderr = cast("TextIO", _Printed("stderr", sys.stderr))
