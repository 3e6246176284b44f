"""Loops that go on where they were: how many items are done is kept with the job, in one place."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic_core import PydanticSerializationError, from_json, to_json

from outlast.core.effects import Effects
from outlast.core.errors import DriftError, InvalidInputError, TooLargeError
from outlast.core.limits import CURSOR_BYTES_MAX, NAME_CHARS_MAX
from outlast.sdk.written import finite

T = TypeVar("T")
_NOTHING: Final = object()


class Cursor:
    """What a job keeps of how far it is: one JSON object, written in place."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._kept: dict[str, Any] | None = None

    async def read(self, name: str) -> Any:
        """Return what was kept under a name, in this attempt or an earlier one; None if nothing."""
        if self._kept is None:
            text = await self._effects.cursor() if self._effects.lease.token > 1 else None
            self._kept = from_json(text) if text else {}
        return self._kept.get(name)

    async def write(self, name: str, value: Any, *, advances: bool) -> None:
        """Keep a JSON value under a name, in place of the last one."""
        if not 0 < len(name) <= NAME_CHARS_MAX:
            raise InvalidInputError(f"cursor {name!r:.80}: expected 1–{NAME_CHARS_MAX} characters")
        await self.read(name)
        assert self._kept is not None  # noqa: S101 - read just now
        what = f"value to remember as {name.removeprefix('='):.80}"
        try:
            text = to_json({**self._kept, name: value})
        except (PydanticSerializationError, UnicodeError) as error:
            raise InvalidInputError(f"{what} can't be written as JSON: {error}") from error
        finite(text.decode(), what)
        if len(text) > CURSOR_BYTES_MAX:
            raise TooLargeError(
                f"cursor {name!r}: all that the job keeps has {len(text)} bytes, at most "
                f"{CURSOR_BYTES_MAX} fit",
                hint="keep where to go on, and the data itself in a file or a step",
            )
        self._kept[name] = value
        await self._effects.save(text.decode(), advances=advances)


class Loop:
    """One resumable loop of a job: how many of its items are done, and how many are kept."""

    def __init__(
        self, cursor: Cursor, name: str, every: int, items: object, total: int | None
    ) -> None:
        if every < 1:
            raise InvalidInputError(f"every: expected a whole number from 1, got {every}")
        self._cursor = cursor
        self._name = name
        self._every = every
        self.done = self._kept = 0
        self.total = len(items) if total is None and isinstance(items, Sized) else total

    async def begin(self) -> None:
        """Go on after the items that are done."""
        self.done = self._kept = int(await self._cursor.read(self._name) or 0)
        if self.total is not None and self.done > self.total:
            raise DriftError(
                f"loop {self._name!r}: {self.done} items were done, but now it has {self.total}",
                hint="give a loop over other items another name",
            )

    def step(self) -> bool:
        """Count an item as done; return whether it is time to keep that."""
        self.done += 1
        return self.done - self._kept >= self._every

    async def keep(self) -> None:
        """Keep how many are done."""
        if self.done > self._kept:
            await self._cursor.write(self._name, self.done, advances=True)
            self._kept = self.done


def rest_of(items: Iterable[T], done: int) -> Iterator[T]:
    """Iterate over what is left, without touching the items of a sequence that are done."""
    if isinstance(items, Sequence):
        return (items[n] for n in range(done, len(items)))
    return islice(items, done, None)


async def rest_of_either(items: Iterable[T] | AsyncIterable[T], done: int) -> AsyncIterator[T]:
    """Iterate over what is left of a plain or an asynchronous iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            if done:
                done -= 1
            else:
                yield item
    else:
        for item in rest_of(items, done):
            yield item


def keeps(stored: Any, read: Any) -> bool:
    """Whether a stored JSON value, read by a type and written again, still says all it said.

    A field with a default may have come; none may have gone or changed, nor a number its kind.

    >>> keeps({"n": 1}, {"n": 1, "unit": "km"}), keeps({"n": 1}, {"n": 1.0}), keeps([1], [])
    (True, False, False)
    """
    match stored:
        case dict():
            if not isinstance(read, dict):
                return False
            return all(keeps(value, read.get(key, _NOTHING)) for key, value in stored.items())
        case list():
            if not isinstance(read, list) or len(read) != len(stored):
                return False
            return all(map(keeps, stored, read))
        case _:
            return type(stored) is type(read) and bool(stored == read)
