"""Where a worker can be made to die or to freeze: at what it writes to the ledger."""

from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic_core import from_json

from outlast.core.errors import InvalidInputError
from outlast.core.job import JobRecord, Transition
from outlast.core.status import Status
from outlast.sdk.task_handle import TaskHandle

_BY_NAME: Final = frozenset({"step", "artifact", "resume", "remember"})
_KINDS: Final = _BY_NAME | {"start", "progress", "log", "retry", "fail", "complete"}
_SHOWN_MAX: Final = 30
_EVENTS: Final = {"completed": "complete", "failed": "fail", "retrying": "retry"}


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that a worker writes for a job: what, of which name, and how far a loop is."""

    kind: str
    name: str | None = None
    done: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.kind, self.name, self.done) if part is not None)

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a point as a test names it; raise InvalidInputError for one that can't come."""
        kind, colon, name = text.partition(":")
        if kind not in _KINDS or (colon and (kind not in _BY_NAME or not name)):
            known = ", ".join(f"{k}:NAME" if k in _BY_NAME else k for k in sorted(_KINDS))
            raise InvalidInputError(f"point {text!r:.80}: expected one of {known}")
        loop, colon, done = name.rpartition(":")
        if kind == "resume" and colon and done.isdigit():
            return cls(kind, loop, int(done))
        return cls(kind, name or None)

    def covers(self, other: "Point") -> bool:
        """Whether another point is this one: what is left open here may be anything there."""
        return (
            self.kind == other.kind
            and self.name in {None, other.name}
            and (self.done is None or (other.done or 0) >= self.done)
        )


def points_of(change: Transition, row: JobRecord) -> list[Point]:
    """Say what a transition writes, in the words of a test."""
    if change.event in {"step", "artifact"}:
        return [Point(change.event, from_json(change.data)["name"])]
    if change.event:
        return [Point(_EVENTS.get(change.event, change.event))]
    before: dict[str, Any] = from_json(row.cursor) if row.cursor else {}
    after: dict[str, Any] = from_json(change.cursor) if change.cursor else {}
    return [
        Point("remember", name[1:]) if name.startswith("=") else Point("resume", name, value)
        for name, value in after.items()
        if before.get(name) != value
    ]


class Fault:
    """A worker that will die or freeze; as a block, it must have done so when the block ends."""

    def __init__(
        self,
        kind: Literal["crash", "freeze"],
        point: str,
        task: TaskHandle[Any, Any] | None,
        *,
        recorded: bool,
    ) -> None:
        self.kind = kind
        self.point = Point.of(point)
        self.task = None if task is None else task.task.name
        self.recorded = recorded or self.point.kind == "start"
        self.happened = False
        self._was_told = False
        self.passed: list[str] = []  # what went by instead

    def meets(self, point: Point, row: JobRecord) -> bool:
        """Whether it happens here; it happens once."""
        if self.happened or row.status is not Status.PROCESSING:
            return False
        if self.task in {None, row.task} and self.point.covers(point):
            self.happened = True
        else:
            self.passed.append(f"{row.task} {point}")
        return self.happened

    def check(self) -> None:
        """Raise AssertionError when it has not happened: then the test has shown nothing."""
        __tracebackhide__ = True
        if not self.happened and not self._was_told:
            self._was_told = True
            passed = list(dict.fromkeys(self.passed))
            went = ", ".join(passed[:_SHOWN_MAX]) or "nothing: no job ran, or time stood"
            went += ", …" if len(passed) > _SHOWN_MAX else ""
            of = f" of {self.task}" if self.task else ""
            raise AssertionError(
                f"{self.kind}_at({str(self.point)!r}): no job{of} came there\n  passed: {went}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        __tracebackhide__ = True
        if kind is None:
            self.check()
